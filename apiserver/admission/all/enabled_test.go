package all_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/admission/all"
	"clipper/apiserver/allocate"
	"clipper/apiserver/apiservertest"
	"clipper/apiserver/authz"
)

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    all.Options
		err  string
	}{
		{"defaults", all.Options{}, ""},
		{"known", all.Options{Enable: []string{"AlwaysPullImages", "PodGroupProtection"}, Disable: []string{"PodSecurity"}}, ""},
		{"on already", all.Options{Enable: []string{"NodeRestriction", "NodeRestriction"}}, ""},
		{"unknown", all.Options{Enable: []string{"PodSecurityPolicy"}, Disable: []string{"X"}},
			"enable-admission-plugins plugin \"PodSecurityPolicy\" is unknown\ndisable-admission-plugins plugin \"X\" is unknown"},
		{"both", all.Options{Enable: []string{"PodSecurity", "AlwaysDeny"}, Disable: []string{"PodSecurity"}}, "[PodSecurity] in enable-admission-plugins and disable-admission-plugins overlapped"},
	} {
		err := tt.o.Validate()
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
		}
	}
}

// configured writes an AdmissionConfiguration, and the files beside it.
func configured(t *testing.T, text string, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "admission.yaml")
	files[filepath.Base(path)] = text
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

const hardened = `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: restricted, enforce-version: latest}
    exemptions: {namespaces: [kube-system]}
- name: EventRateLimit
  path: events.yaml
- name: PodNodeSelector
  configuration: {podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: zone=a, default: "zone=a,disk=ssd"}}
- name: PodTolerationRestriction
  configuration:
    apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
    kind: Configuration
    default: [{key: cluster, operator: Exists}]
- name: ResourceQuota
  configuration:
    apiVersion: apiserver.config.k8s.io/v1
    kind: ResourceQuotaConfiguration
    limitedResources: [{resource: persistentvolumeclaims, matchContains: [requests.storage]}]
`

const eventLimits = `
apiVersion: eventratelimit.admission.k8s.io/v1alpha1
kind: Configuration
limits: [{type: User, qps: 1, burst: 2}]
`

// TestConfigured: the plug-ins that hardening guides ask for, with their configurations.
func TestConfigured(t *testing.T) {
	s := apiservertest.StartWith(t, all.Options{
		Enable:     []string{"AlwaysPullImages", "EventRateLimit", "PodNodeSelector", "PodTolerationRestriction", "DenyServiceExternalIPs", "NamespaceAutoProvision"},
		ConfigFile: configured(t, hardened, map[string]string{"events.yaml": eventLimits}),
	})
	c, ctx := kubernetes.NewForConfigOrDie(s.Admin(t)), t.Context()
	plain := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{AutomountServiceAccountToken: new(bool), Containers: []corev1.Container{{Name: "c", Image: "i:1"}}}}
	eventually(t, "service accounts", func(ctx context.Context) bool {
		for _, ns := range []string{"default", "kube-system"} {
			if _, err := c.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{}); err != nil {
				return false
			}
		}
		return true
	})
	if _, err := c.CoreV1().Pods("default").Create(ctx, plain, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted:latest"`) {
		t.Errorf("in default: %v", err)
	}
	got, err := c.CoreV1().Pods("kube-system").Create(ctx, plain, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Spec.Containers[0].ImagePullPolicy != corev1.PullAlways || got.Spec.NodeSelector["zone"] != "a" || got.Spec.Tolerations[0].Key != "node.kubernetes.io/not-ready" || got.Spec.Tolerations[2].Key != "cluster" {
		t.Errorf("in kube-system: %+v", got.Spec)
	}
	plain.Spec.NodeSelector = map[string]string{"zone": "b"}
	if _, err := c.CoreV1().Pods("kube-system").Create(ctx, plain, metav1.CreateOptions{}); err == nil || err.Error() != `pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector` {
		t.Errorf("elsewhere: %v", err)
	}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "v"}, Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{"ReadWriteOnce"},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("1Gi")}}}}
	if _, err := c.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim, metav1.CreateOptions{}); err == nil || err.Error() != `persistentvolumeclaims "v" is forbidden: insufficient quota to consume: requests.storage` {
		t.Errorf("claim: %v", err)
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"requests.storage": resource.MustParse("2Gi")}}}
	if _, err := c.CoreV1().ResourceQuotas("default").Create(ctx, quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().PersistentVolumeClaims("default").Create(ctx, claim, metav1.CreateOptions{}); err != nil {
		t.Errorf("claim under a quota: %v", err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ExternalIPs: []string{"192.0.2.7"}}}
	if _, err := c.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err == nil || err.Error() != `services "s" is forbidden: Use of external IPs is denied by admission control` {
		t.Errorf("service: %v", err)
	}
	if _, err := c.CoreV1().ConfigMaps("made-on-demand").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("in a namespace that is not there: %v", err)
	}
	event := func() error {
		_, err := c.CoreV1().Events("default").Create(ctx, &corev1.Event{ObjectMeta: metav1.ObjectMeta{GenerateName: "e-", Namespace: "default"}, InvolvedObject: corev1.ObjectReference{Namespace: "default"}}, metav1.CreateOptions{})
		return err
	}
	for range 2 {
		if err := event(); err != nil {
			t.Error(err)
		}
	}
	if err := event(); !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "limit reached on type User for key ") {
		t.Errorf("the third event: %v", err)
	}
}

// TestDisabled: what a plug-in would refuse is taken without it.
func TestDisabled(t *testing.T) {
	s := apiservertest.StartWith(t, all.Options{Disable: []string{"NamespaceLifecycle", "ServiceAccount", "PodSecurity", "DefaultTolerationSeconds"}})
	c := kubernetes.NewForConfigOrDie(s.Admin(t))
	got, err := c.CoreV1().Pods("nowhere").Create(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}, metav1.CreateOptions{})
	if err != nil || len(got.Spec.Tolerations) > 0 || len(got.Spec.Volumes) > 0 {
		t.Errorf("%v %v", got, err)
	}
}

// TestBadConfiguration: a server does not start with a configuration that it cannot follow.
func TestBadConfiguration(t *testing.T) {
	s := apiservertest.Start(t)
	az, alloc := authz.New(s.Client), allocate.New(s.Client, allocate.Config{})
	plugin := func(name, configuration string) string {
		return "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: " + name + ", " + configuration + "}]\n"
	}
	for name, tt := range map[string]struct {
		enable, text, err string
	}{
		"no kind":       {"", "plugins: []\n", "Object 'Kind' is missing"},
		"unknown field": {"", plugin("PodSecurity", "configration: {}"), `unknown field "plugins[0].configration"`},
		"no file":       {"", plugin("PodSecurity", "path: gone.yaml"), "configuration of plug-in PodSecurity: open "},
		"bad level": {"", plugin("PodSecurity", `configuration: {apiVersion: pod-security.admission.config.k8s.io/v1, kind: PodSecurityConfiguration, defaults: {enforce: x}}`),
			"admission plug-in PodSecurity: podsecurity: enforce: must be one of privileged, baseline, restricted"},
		"takes none":    {"", plugin("LimitRanger", "configuration: {a: b}"), "admission plug-in LimitRanger: it takes no configuration here; remove it from the file"},
		"off":           {"", plugin("EventRateLimit", "configuration: {a: b}"), ""},
		"other kind":    {"EventRateLimit", plugin("EventRateLimit", "configuration: {apiVersion: v1, kind: Pod}"), `no kind "Pod" is registered for version "v1"`},
		"no limits":     {"EventRateLimit", plugin("PodSecurity", "path: ''"), "limits: Invalid value: null: must not be empty"},
		"no hook":       {"ImagePolicyWebhook", plugin("PodSecurity", "path: ''"), "admission plug-in ImagePolicyWebhook: no config specified"},
		"short answers": {"ImagePolicyWebhook", "imagePolicy: {allowTTL: 3600}\n", "valid value is between 1s and 30m0s, got 1h0m0s"},
		"no selector":   {"PodNodeSelector", "podNodeSelectorPluginConfig: {x: 'a in (b)'}\n", "podNodeSelectorPluginConfig.x: "},
		"manifests": {"", plugin("ValidatingAdmissionWebhook", "configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, staticManifestsDir: /x}"),
			"staticManifestsDir"},
		"kubeconfig": {"", plugin("MutatingAdmissionWebhook", "configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: WebhookAdmissionConfiguration, kubeConfigFile: x}"),
			"kubeConfigFile: Invalid value: \"x\": must be an absolute file path"},
	} {
		t.Run(name, func(t *testing.T) {
			o := all.Options{ConfigFile: configured(t, tt.text, map[string]string{})}
			if tt.enable != "" {
				o.Enable = []string{tt.enable}
			}
			_, err := all.New(s.Client, az, alloc, o)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
}
