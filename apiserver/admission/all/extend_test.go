package all_test

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/apiservertest"
)

// hookServer answers reviews at its paths.
func hookServer(t *testing.T) (url string, ca []byte) {
	t.Helper()
	answer := func(fn func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
				t.Error(err)
			}
			resp := fn(review.Request)
			resp.UID = review.Request.UID
			review.Request, review.Response = nil, resp
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(review); err != nil {
				t.Error(err)
			}
		}
	}
	patch := admissionv1.PatchTypeJSONPatch
	mux := http.NewServeMux()
	mux.HandleFunc("/deny", answer(func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not in this house"}, Warnings: []string{"mind the step"}}
	}))
	mux.HandleFunc("/mark", answer(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var cm corev1.ConfigMap
		if err := json.Unmarshal(r.Object.Raw, &cm); err != nil || cm.Kind != "ConfigMap" || cm.APIVersion != "v1" {
			t.Errorf("object of the review: %v %s", err, r.Object.Raw)
		}
		return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &patch, Patch: []byte(`[{"op":"add","path":"/data","value":{"marked":"yes"}}]`)}
	}))
	mux.HandleFunc("/sidecar", answer(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &patch,
			Patch: []byte(`[{"op":"add","path":"/spec/containers/-","value":{"name":"sidecar","image":"side:1"}}]`)}
	}))
	mux.HandleFunc("/attach", answer(func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		var o corev1.PodAttachOptions
		if err := json.Unmarshal(r.Object.Raw, &o); err != nil {
			t.Errorf("options %s: %v", r.Object.Raw, err)
		}
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{
			Message: fmt.Sprintf("%s/%s stdin=%v container=%s", o.APIVersion, o.Kind, o.Stdin, o.Container)}}
	}))
	over := make(chan struct{})
	mux.HandleFunc("/slow", func(http.ResponseWriter, *http.Request) { <-over })
	s := httptest.NewTLSServer(mux)
	t.Cleanup(func() { close(over); s.Close() })
	return s.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func ruleFor(op admissionregistrationv1.OperationType, group, resource string) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{Operations: []admissionregistrationv1.OperationType{op},
		Rule: admissionregistrationv1.Rule{APIGroups: []string{group}, APIVersions: []string{"*"}, Resources: []string{resource}}}}
}

func TestWebhooks(t *testing.T) {
	s := apiservertest.Start(t)
	cfg := s.Admin(t)
	var said warnings
	cfg.WarningHandler = &said
	c := clientFor(t, cfg)
	ctx := t.Context()
	url, ca := hookServer(t)
	none, fail, ignore, second := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, admissionregistrationv1.Ignore, int32(1)
	at := func(path string) admissionregistrationv1.WebhookClientConfig {
		u := url + path
		return admissionregistrationv1.WebhookClientConfig{URL: &u, CABundle: ca}
	}
	labelled := func(value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"case": value}}
	}
	validating := func(name, path string, policy *admissionregistrationv1.FailurePolicyType, change func(*admissionregistrationv1.ValidatingWebhook)) {
		t.Helper()
		h := admissionregistrationv1.ValidatingWebhook{Name: name + ".example.com", ClientConfig: at(path), Rules: ruleFor("CREATE", "", "configmaps"),
			ObjectSelector: labelled(name), SideEffects: &none, FailurePolicy: policy, TimeoutSeconds: &second, AdmissionReviewVersions: []string{"v1"}}
		if change != nil {
			change(&h)
		}
		_, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx,
			&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta(name), Webhooks: []admissionregistrationv1.ValidatingWebhook{h}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	mutating := func(name, path, resource string) {
		t.Helper()
		h := admissionregistrationv1.MutatingWebhook{Name: name + ".example.com", ClientConfig: at(path), Rules: ruleFor("CREATE", "", resource),
			ObjectSelector: labelled(name), SideEffects: &none, FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"}}
		_, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx,
			&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta(name), Webhooks: []admissionregistrationv1.MutatingWebhook{h}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	validating("deny", "/deny", &fail, nil)
	validating("closed", "/nothing-here", &fail, nil)
	validating("open", "/nothing-here", &ignore, nil)
	validating("slow", "/slow", &fail, nil)
	validating("some", "/deny", &fail, func(h *admissionregistrationv1.ValidatingWebhook) {
		h.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "big", Expression: "object.metadata.name.startsWith('big')"}}
	})
	mutating("mark", "/mark", "configmaps")
	mutating("sidecar", "/sidecar", "pods")

	for _, tt := range []struct{ label, name, err string }{
		{"deny", "a", `admission webhook "deny.example.com" denied the request: not in this house`},
		{"closed", "b", `failed calling webhook "closed.example.com": failed to call webhook: the server could not find the requested resource`},
		{"open", "c", ""},
		{"slow", "d", "context deadline exceeded"},
		{"some", "big", `admission webhook "some.example.com" denied the request`},
		{"some", "small", ""},
		{"other", "e", ""},
	} {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: tt.name, Labels: map[string]string{"case": tt.label}}}
		_, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{})
		if tt.err == "" && err != nil {
			t.Errorf("%s/%s: %v", tt.label, tt.name, err)
		} else if tt.err != "" {
			wantError(t, err, tt.err)
		}
	}
	if len(said) == 0 || said[0] != "mind the step" {
		t.Errorf("warnings: %q", said)
	}
	cm, err := c.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m", Labels: map[string]string{"case": "mark"}}}, metav1.CreateOptions{})
	if err != nil || cm.Data["marked"] != "yes" {
		t.Errorf("marked: %v %v", cm, err)
	}
	// What a webhook adds gets its defaults and is seen by the built-in plug-ins.
	p, err := c.CoreV1().Pods("default").Create(ctx, pod(func(p *corev1.Pod) { p.Labels = map[string]string{"case": "sidecar"} }), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if side := p.Spec.Containers[1]; side.ImagePullPolicy != "IfNotPresent" || len(side.VolumeMounts) != 1 {
		t.Errorf("sidecar: %+v", side)
	}
	// Streams are asked about, too, with what they ask for.
	validating("attach", "/attach", &fail, func(h *admissionregistrationv1.ValidatingWebhook) {
		h.Rules, h.ObjectSelector = ruleFor("CONNECT", "", "pods/attach"), nil
	})
	err = c.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("attach").
		Param("stdin", "true").Param("container", "c").Do(ctx).Error()
	wantError(t, err, `denied the request: v1/PodAttachOptions stdin=true container=c`)
	// A broken webhook cannot keep itself from being removed.
	if err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, "closed", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	wide := admissionregistrationv1.ValidatingWebhook{Name: "dry.example.com", ClientConfig: at("/deny"), Rules: ruleFor("CREATE", "", "secrets"),
		SideEffects: func() *admissionregistrationv1.SideEffectClass {
			s := admissionregistrationv1.SideEffectClassNoneOnDryRun
			return &s
		}(),
		FailurePolicy: &fail, AdmissionReviewVersions: []string{"v1"}}
	if _, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx,
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta("dry"), Webhooks: []admissionregistrationv1.ValidatingWebhook{wide}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = c.CoreV1().Secrets("default").Create(ctx, &corev1.Secret{ObjectMeta: meta("s")}, metav1.CreateOptions{DryRun: []string{"All"}})
	wantError(t, err, `admission webhook "dry.example.com" denied the request`)
}

func TestPolicies(t *testing.T) {
	s := apiservertest.Start(t)
	cfg := s.Admin(t)
	var said warnings
	cfg.WarningHandler = &said
	c := clientFor(t, cfg)
	ctx := t.Context()
	createPolicy(t, c, "replicas", nil, admissionregistrationv1.Validation{
		Expression: "variables.few", MessageExpression: "'too many keys: ' + string(object.data.size())"},
		admissionregistrationv1.Variable{Name: "few", Expression: "object.data.size() <= 2"})
	createPolicy(t, c, "limit", &admissionregistrationv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		admissionregistrationv1.Validation{Expression: "object.data.size() <= int(params.data.max)", Message: "over the limit"})
	bind := func(name, policy, label string, param string, actions ...admissionregistrationv1.ValidationAction) {
		t.Helper()
		b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta(name), Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: policy, ValidationActions: actions,
			MatchResources: &admissionregistrationv1.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"case": label}}}}}
		if param != "" {
			deny := admissionregistrationv1.DenyAction
			b.Spec.ParamRef = &admissionregistrationv1.ParamRef{Name: param, Namespace: "default", ParameterNotFoundAction: &deny}
		}
		if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(ctx, b, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	bind("deny", "replicas", "deny", "", admissionregistrationv1.Deny)
	bind("warn", "replicas", "warn", "", admissionregistrationv1.Warn)
	bind("param", "limit", "param", "limits", admissionregistrationv1.Deny)
	bind("lost", "limit", "lost", "nothing", admissionregistrationv1.Deny)
	data := func(n int) map[string]string {
		out := map[string]string{}
		for i := range n {
			out[strings.Repeat("k", i+1)] = "v"
		}
		return out
	}
	create := func(name, label string, d map[string]string) error {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"case": label}}, Data: d}
		_, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{})
		return err
	}
	if err := create("limits", "none", map[string]string{"max": "1"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		label string
		n     int
		err   string
	}{
		{"deny", 2, ""},
		{"deny", 3, `configmaps "deny-3" is forbidden: ValidatingAdmissionPolicy 'replicas' with binding 'deny' denied request: too many keys: 3`},
		{"warn", 3, ""},
		{"param", 1, ""},
		{"param", 2, "ValidatingAdmissionPolicy 'limit' with binding 'param' denied request: over the limit"},
		{"lost", 1, "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"},
		{"free", 9, ""},
	} {
		err := create(tt.label+"-"+string(rune('0'+tt.n)), tt.label, data(tt.n))
		if tt.err == "" && err != nil {
			t.Errorf("%s %d: %v", tt.label, tt.n, err)
		} else if tt.err != "" {
			wantError(t, err, tt.err)
		}
	}
	if len(said) != 1 || said[0] != "Validation failed for ValidatingAdmissionPolicy 'replicas' with binding 'warn': too many keys: 3" {
		t.Errorf("warnings: %q", said)
	}
}

// A fault in an expression is its author's, not everybody's.
func TestExpressionsAreCompiledWhenWritten(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	u, none := "https://example.com", admissionregistrationv1.SideEffectClassNone
	h := admissionregistrationv1.ValidatingWebhook{Name: "x.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &u}, SideEffects: &none,
		Rules: ruleFor("CREATE", "", "configmaps"), AdmissionReviewVersions: []string{"v1"},
		MatchConditions: []admissionregistrationv1.MatchCondition{{Name: "bad", Expression: "object.metadata.name =="}}}
	_, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta("x"), Webhooks: []admissionregistrationv1.ValidatingWebhook{h}}, metav1.CreateOptions{})
	wantError(t, err, `webhooks[0].matchConditions[0].expression: Invalid value: "object.metadata.name ==": compilation failed: ERROR`)
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta("p"), Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		Validations: []admissionregistrationv1.Validation{{Expression: "variables.nothing > 1"}},
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{
			{RuleWithOperations: ruleFor("CREATE", "", "configmaps")[0]}}}}}
	_, err = c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{})
	wantError(t, err, `spec.validations[0].expression: Invalid value: "variables.nothing > 1": compilation failed`)
}

func createPolicy(t *testing.T, c *kubernetes.Clientset, name string, param *admissionregistrationv1.ParamKind, v admissionregistrationv1.Validation, vars ...admissionregistrationv1.Variable) {
	t.Helper()
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta(name), Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		ParamKind: param, Variables: vars, Validations: []admissionregistrationv1.Validation{v},
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{
			{RuleWithOperations: ruleFor("CREATE", "", "configmaps")[0]}}}}}
	if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}
