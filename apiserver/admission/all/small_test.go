package all_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/antiaffinity"
	"clipper/apiserver/admission/namespaceexists"
	"clipper/apiserver/admission/nodeselector"
	"clipper/apiserver/admission/pullpolicy"
	"clipper/apiserver/admission/tolerations"
)

// object reads a pod from JSON.
func object(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{}
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	p.Name, p.Namespace = "p", "ns"
	return p
}

// TestOptionalPlugins: what each plug-in makes of a pod's spec, or why it refuses it.
func TestOptionalPlugins(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.Namespaces.Resource,
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", Annotations: map[string]string{
			"scheduler.alpha.kubernetes.io/node-selector":        "zone=b",
			"scheduler.alpha.kubernetes.io/defaultTolerations":   `[{"key":"own","operator":"Exists"}]`,
			"scheduler.alpha.kubernetes.io/tolerationsWhitelist": `[{"key":"own","operator":"Exists"},{"key":"time","operator":"Exists","effect":"NoExecute","tolerationSeconds":10}]`,
		}}})
	selectors, err := nodeselector.New(c, []byte(`{"podNodeSelectorPluginConfig":{"clusterDefaultNodeSelector":"zone=a","ns":"zone=b,disk=ssd"}}`))
	if err != nil {
		t.Fatal(err)
	}
	restriction, err := tolerations.NewRestriction(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		plugin    any
		old, in   string
		out, fail string
	}{
		{"images of all sorts", pullpolicy.Plugin{}, "", `{"spec":{"initContainers":[{"name":"a"}],"containers":[{"name":"b","imagePullPolicy":"Never"}],"volumes":[{"name":"v","image":{"reference":"r"}}]}}`,
			`{"volumes":[{"name":"v","image":{"reference":"r","pullPolicy":"Always"}}],"initContainers":[{"name":"a","resources":{},"imagePullPolicy":"Always"}],"containers":[{"name":"b","resources":{},"imagePullPolicy":"Always"}]}`, ""},
		{"an update without new images", pullpolicy.Plugin{}, `{"spec":{"containers":[{"name":"b","image":"i"}]}}`, `{"spec":{"containers":[{"name":"b","image":"i"}]}}`, `{"containers":[{"name":"b","image":"i","resources":{}}]}`, ""},
		{"an update with one", pullpolicy.Plugin{}, `{"spec":{"containers":[{"name":"b","image":"i"}]}}`, `{"spec":{"containers":[{"name":"b","image":"j"}]}}`, `{"containers":[{"name":"b","image":"j","resources":{},"imagePullPolicy":"Always"}]}`, ""},
		{"alone on a node", antiaffinity.Plugin{}, "", `{"spec":{"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"kubernetes.io/hostname"}]}}}}`, "", ""},
		{"alone in a zone", antiaffinity.Plugin{}, "", `{"spec":{"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"zone"}]}}}}`, "",
			`pods "p" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed`},
		{"the namespace's nodes", selectors, "", `{"spec":{}}`, `{"containers":null,"nodeSelector":{"zone":"b"}}`, ""},
		{"and the pod's own", selectors, "", `{"spec":{"nodeSelector":{"disk":"ssd"}}}`, `{"containers":null,"nodeSelector":{"disk":"ssd","zone":"b"}}`, ""},
		{"against the namespace", selectors, "", `{"spec":{"nodeSelector":{"zone":"c"}}}`, "", `pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector`},
		{"outside the whitelist", selectors, "", `{"spec":{"nodeSelector":{"gpu":"yes"}}}`, "", `pods "p" is forbidden: pod node label selector labels conflict with its namespace whitelist`},
		{"an update", selectors, `{"spec":{}}`, `{"spec":{"nodeSelector":{"zone":"c"}}}`, `{"containers":null,"nodeSelector":{"zone":"c"}}`, ""},
		{"the namespace's tolerations", restriction, "", `{"spec":{}}`, `{"containers":null,"tolerations":[{"key":"own","operator":"Exists"}]}`, ""},
		{"covered by the namespace's", restriction, "", `{"spec":{"tolerations":[{"key":"own","operator":"Equal","value":"x","effect":"NoSchedule"}]}}`, `{"containers":null,"tolerations":[{"key":"own","operator":"Exists"}]}`, ""},
		{"not too long", restriction, "", `{"spec":{"tolerations":[{"key":"time","operator":"Exists","effect":"NoExecute","tolerationSeconds":9}]}}`,
			`{"containers":null,"tolerations":[{"key":"time","operator":"Exists","effect":"NoExecute","tolerationSeconds":9},{"key":"own","operator":"Exists"}]}`, ""},
		{"too long", restriction, "", `{"spec":{"tolerations":[{"key":"time","operator":"Exists","effect":"NoExecute","tolerationSeconds":11}]}}`, "",
			"pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"},
		{"not best effort", restriction, "", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]}}`, "",
			"pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"},
		{"nodes that fail", tolerations.Plugin{NotReady: 7, Unreachable: 9}, "", `{"spec":{"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists"}]}}`,
			`{"containers":null,"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists"},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":9}]}`, ""},
		{"rare devices", tolerations.Extended{}, "", `{"spec":{"containers":[{"name":"c","resources":{"requests":{"cpu":"1","b.com/x":"1","a.com/x":"1"}}}],"tolerations":[{"key":"a.com/x","operator":"Exists","effect":"NoSchedule"}]}}`,
			`{"containers":[{"name":"c","resources":{"requests":{"a.com/x":"1","b.com/x":"1","cpu":"1"}}}],"tolerations":[{"key":"a.com/x","operator":"Exists","effect":"NoSchedule"},{"key":"b.com/x","operator":"Exists","effect":"NoSchedule"}]}`, ""},
		{"a namespace that is there", namespaceexists.New(c), "", `{"spec":{}}`, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Namespace: "ns", Name: "p", Object: object(t, tt.in)}
			if old := object(t, tt.old); old != nil {
				a.Operation, a.Old = admission.Update, old
			}
			var err error
			if m, ok := tt.plugin.(admission.Mutator); ok {
				err = m.Admit(t.Context(), a)
			}
			if v, ok := tt.plugin.(admission.Validator); ok && err == nil {
				err = v.Validate(t.Context(), a)
			}
			if tt.fail == "" && err != nil || tt.fail != "" && (err == nil || err.Error() != tt.fail) {
				t.Fatalf("error %v, want %q", err, tt.fail)
			}
			got, _ := json.Marshal(a.Object.(*corev1.Pod).Spec)
			if tt.out != "" && string(got) != tt.out {
				t.Errorf("\n got %s\nwant %s", got, tt.out)
			}
		})
	}
}

// TestPullPolicyChanged: a webhook that sets it back is found out.
func TestPullPolicyChanged(t *testing.T) {
	a := &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Name: "p", Object: object(t, `{"spec":{"containers":[{"name":"b","imagePullPolicy":"Never"}]}}`)}
	want := `pods "p" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: "Never": supported values: "Always"`
	if err := (pullpolicy.Plugin{}).Validate(t.Context(), a); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}
