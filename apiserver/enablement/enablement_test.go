package enablement_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyresource "k8s.io/client-go/applyconfigurations/resource/v1beta1"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/enablement"
	"clipper/apiserver/servertest"
	"clipper/catalogue/all"
)

func TestApply(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config map[string]string
		off    string // what is withheld, in order; "many" for more than a hundred
		err    string
	}{
		{"nothing", nil, "", ""},
		{"what is so", map[string]string{"api/alpha": "false", "api/beta": "false", "api/ga": "true", "apps/v1": "true", "batch/v1/jobs": ""}, "", ""},
		{"a beta that is off", map[string]string{"resource.k8s.io/v1beta1": "false"}, "", ""},
		{"a version", map[string]string{"autoscaling/v1": "false"}, "autoscaling/v1/horizontalpodautoscalers", ""},
		{"events of one group", map[string]string{"events.k8s.io/v1": "false"}, "events.k8s.io/v1/events", ""},
		{"a resource", map[string]string{"apps/v1/deployments": "false"}, "apps/v1/deployments", ""},
		{"all but one", map[string]string{"api/all": "false", "api/v1": "true"}, "many", ""},
		{"a class that counts later", map[string]string{"api/all": "false", "api/ga": "true"}, "", ""},
		{"nothing at all", map[string]string{"api/all": "false"}, "", "invalid runtime-config with only api/all=false"},
		{"no truth", map[string]string{"api/all": "yes"}, "", "invalid value api/all=yes"},
		{"no truth either", map[string]string{"apps/v1": "yes"}, "", `invalid value of apps/v1: yes, err: strconv.ParseBool: parsing "yes": invalid syntax`},
		{"a beta that is not here", map[string]string{"coordination.k8s.io/v1beta1": "true"}, "", "coordination.k8s.io/v1beta1=true: not supported here"},
		{"an alpha resource", map[string]string{"storage.k8s.io/v1alpha1/x": "true"}, "", "storage.k8s.io/v1alpha1/x=true: not supported here"},
		{"no such version", map[string]string{"apps/v7": "true"}, "", "group version apps/v7 that has not been registered"},
		{"no such group", map[string]string{"x.io/v1": "true"}, "", "unknown api groups x.io/v1"},
		{"no key", map[string]string{"v1": "true"}, "", "runtime-config invalid key v1"},
		{"upper case", map[string]string{"apps/v1/Deployments": "false"}, "", `resource is always lowercase plural, not "Deployments"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := all.Resources()
			got, err := enablement.Apply(before, tt.config)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Fatalf("error %v, want %q", err, tt.err)
			}
			var off []string
			for i, r := range got {
				if before[i].Withheld {
					t.Errorf("%s: the catalogue itself was changed", r.Name)
				}
				if r.Withheld {
					off = append(off, r.Group+"/"+r.Version+"/"+r.Name)
				}
				for _, v := range r.Also {
					if v.Withheld {
						off = append(off, max(v.Group, r.Group)+"/"+v.Version+"/"+r.Name)
					}
				}
			}
			slices.Sort(off)
			if text := strings.Join(off, ", "); text != tt.off && (tt.off != "many" || len(off) < 40 || strings.Contains(text, "/v1/pods,")) {
				t.Errorf("off: %s, want %s", text, tt.off)
			}
		})
	}
}

// TestPreview: versions that are off by default are offered to those who ask, one by one or by class.
func TestPreview(t *testing.T) {
	const policies = "admissionregistration.k8s.io/v1alpha1/mutatingadmissionpolicies admissionregistration.k8s.io/v1alpha1/mutatingadmissionpolicybindings"
	for _, tt := range []struct {
		config map[string]string
		want   string // what is offered beside the usual; a number for how many
	}{
		{map[string]string{"api/ga": "true"}, ""},
		{map[string]string{"networking.k8s.io/v1beta1": "true"}, "networking.k8s.io/v1beta1/ipaddresses networking.k8s.io/v1beta1/servicecidrs"},
		{map[string]string{"networking.k8s.io/v1beta1/servicecidrs": "true"}, "networking.k8s.io/v1beta1/servicecidrs"},
		{map[string]string{"storage.k8s.io/v1beta1": ""}, "storage.k8s.io/v1beta1/volumeattributesclasses"},
		{map[string]string{"api/alpha": "true"}, policies},
		{map[string]string{"api/all": "true", "api/beta": "false"}, policies},
		{map[string]string{"api/all": "true"}, "15"},
		{map[string]string{"api/all": "true", "resource.k8s.io/v1beta1": "false"}, "11"},
	} {
		got, err := enablement.Apply(all.Resources(), tt.config)
		if err != nil {
			t.Fatal(err)
		}
		var on []string
		for i, r := range got {
			if r.Withheld {
				t.Errorf("%v: %s is off", tt.config, r.Name)
			}
			for _, v := range r.Also[len(all.Resources()[i].Also):] {
				on = append(on, r.Group+"/"+v.Version+"/"+r.Name)
			}
		}
		slices.Sort(on)
		if text := strings.Join(on, " "); text != tt.want && strconv.Itoa(len(on)) != tt.want {
			t.Errorf("%v: %d: %s, want %s", tt.config, len(on), text, tt.want)
		}
	}
}

// start starts a server that has what is switched on, and lacks what is switched off.
func start(t *testing.T, switches map[string]string) *servertest.Server {
	t.Helper()
	resources, err := enablement.Apply(all.Resources(), switches)
	if err != nil {
		t.Fatal(err)
	}
	s, err := servertest.Start(t.TempDir(), servertest.Options{Resources: resources})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestWithheld: no path leads to what is switched off, discovery and schemas do not know it, and the rest works on.
func TestWithheld(t *testing.T) {
	s := start(t, map[string]string{"autoscaling/v2": "false", "batch/v1": "false", "apps/v1/daemonsets": "false", "api/v1/configmaps": "false"})
	for path, code := range map[string]int{
		"/apis/batch/v1": 404, "/apis/batch": 404, "/apis/batch/v1/jobs": 404, "/apis/apps/v1/daemonsets": 404, "/api/v1/configmaps": 404, "/openapi/v3/apis/batch/v1": 404,
		"/apis/autoscaling/v2/horizontalpodautoscalers": 404, "/apis/autoscaling/v1/horizontalpodautoscalers": 200, "/apis/apps/v1/deployments": 200, "/openapi/v3/apis/apps/v1": 200, "/api/v1/secrets": 200,
	} {
		r, err := http.NewRequest(http.MethodGet, s.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
		res, err := s.HTTPClient().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != code {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, code)
		}
	}
	c := kubernetes.NewForConfigOrDie(s.Config)
	groups, err := c.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		if g.Name == "batch" || g.Name == "autoscaling" && g.PreferredVersion.Version != "v1" {
			t.Errorf("group %v", g)
		}
	}
	if _, err := c.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

// TestPreviewServed: what is written in a version that is off by default is there in the final one, defaults, field owners
// and warnings are those of the version, and clients still prefer the final one.
func TestPreviewServed(t *testing.T) {
	s := start(t, map[string]string{"resource.k8s.io/v1beta1": "true", "admissionregistration.k8s.io/v1alpha1": "true"})
	said := &warnings{}
	config := *s.Config
	config.WarningHandler = said
	c := kubernetes.NewForConfigOrDie(&config)
	claim := applyresource.ResourceClaim("c", "default").WithSpec(applyresource.ResourceClaimSpec().WithDevices(
		applyresource.DeviceClaim().WithRequests(applyresource.DeviceRequest().WithName("gpu").WithDeviceClassName("fast"))))
	applied, err := c.ResourceV1beta1().ResourceClaims("default").Apply(t.Context(), claim, metav1.ApplyOptions{FieldManager: "m"})
	if err != nil {
		t.Fatal(err)
	}
	if r := applied.Spec.Devices.Requests[0]; r.Count != 1 || r.AllocationMode != "ExactCount" || applied.ManagedFields[0].APIVersion != "resource.k8s.io/v1beta1" {
		t.Errorf("applied: %+v, by %+v", r, applied.ManagedFields)
	}
	final, err := c.ResourceV1().ResourceClaims("default").Get(t.Context(), "c", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r := final.Spec.Devices.Requests[0]; r.Exactly == nil || r.Exactly.DeviceClassName != "fast" || r.Exactly.Count != 1 {
		t.Errorf("final: %+v", r)
	}
	if _, err := c.AdmissionregistrationV1alpha1().MutatingAdmissionPolicyBindings().List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if want := "admissionregistration.k8s.io/v1alpha1 MutatingAdmissionPolicyBinding is deprecated in v1.35+, unavailable in v1.38+"; !slices.Contains(said.texts, want) {
		t.Errorf("warnings %q, want %q", said.texts, want)
	}
	groups, err := c.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups.Groups {
		if g.Name == "resource.k8s.io" && (g.PreferredVersion.Version != "v1" || len(g.Versions) != 2) {
			t.Errorf("group %v", g)
		}
	}
}

type warnings struct{ texts []string }

func (w *warnings) HandleWarningHeader(_ int, _, text string) { w.texts = append(w.texts, text) }
