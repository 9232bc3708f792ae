package all_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditapi "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/client-go/kubernetes"

	"clipper/api"
	"clipper/apiserver/apiservertest"
)

// A reviewer is a webhook that keeps what it is asked and says what it is told to.
type reviewer struct {
	mu     sync.Mutex
	asked  []*admissionv1.AdmissionRequest
	client admissionregistrationv1.WebhookClientConfig
}

// answers starts a reviewer whose answer fn makes; nil allows.
func answers(t *testing.T, fn func(*admissionv1.AdmissionReview) []byte) *reviewer {
	t.Helper()
	r := &reviewer{}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		r.asked = append(r.asked, review.Request)
		r.mu.Unlock()
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		var body []byte
		if fn != nil {
			body = fn(&review)
		}
		if body == nil {
			body, _ = json.Marshal(&review)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	t.Cleanup(s.Close)
	u := s.URL
	r.client = admissionregistrationv1.WebhookClientConfig{URL: &u, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})}
	return r
}

func (r *reviewer) requests() []*admissionv1.AdmissionRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

func validatingHook(t *testing.T, c *kubernetes.Clientset, name string, r *reviewer, rules []admissionregistrationv1.RuleWithOperations, change func(*admissionregistrationv1.ValidatingWebhook)) {
	t.Helper()
	none := admissionregistrationv1.SideEffectClassNone
	h := admissionregistrationv1.ValidatingWebhook{Name: name + ".example.com", ClientConfig: r.client, Rules: rules, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	if change != nil {
		change(&h)
	}
	if _, err := c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: meta(name), Webhooks: []admissionregistrationv1.ValidatingWebhook{h}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func mutatingHook(t *testing.T, c *kubernetes.Clientset, name string, r *reviewer, rules []admissionregistrationv1.RuleWithOperations, change func(*admissionregistrationv1.MutatingWebhook)) {
	t.Helper()
	none := admissionregistrationv1.SideEffectClassNone
	h := admissionregistrationv1.MutatingWebhook{Name: name + ".example.com", ClientConfig: r.client, Rules: rules, SideEffects: &none, AdmissionReviewVersions: []string{"v1"}}
	if change != nil {
		change(&h)
	}
	if _, err := c.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(),
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: meta(name), Webhooks: []admissionregistrationv1.MutatingWebhook{h}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func rulesOf(version string, op admissionregistrationv1.OperationType, group, resource string) []admissionregistrationv1.RuleWithOperations {
	rules := ruleFor(op, group, resource)
	rules[0].APIVersions = []string{version}
	return rules
}

// A webhook for an older version gets objects of a newer one in its own, and may change them; one that
// asks for exact matches is not asked.
func TestEquivalentVersions(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	patch := admissionv1.PatchTypeJSONPatch
	mutating := answers(t, func(review *admissionv1.AdmissionReview) []byte {
		review.Response.PatchType, review.Response.Patch = &patch, []byte(`[{"op":"replace","path":"/spec/targetCPUUtilizationPercentage","value":70}]`)
		return nil
	})
	equivalent, exact := answers(t, nil), answers(t, nil)
	v1 := rulesOf("v1", "CREATE", "autoscaling", "horizontalpodautoscalers")
	mutatingHook(t, c, "mutating", mutating, v1, nil)
	validatingHook(t, c, "equivalent", equivalent, v1, nil)
	validatingHook(t, c, "exact", exact, v1, func(h *admissionregistrationv1.ValidatingWebhook) {
		policy := admissionregistrationv1.Exact
		h.MatchPolicy = &policy
	})
	percent := int32(50)
	hpa := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: meta("h"), Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 3,
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "d"},
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU,
			Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent}}}}}}
	got, err := c.AutoscalingV2().HorizontalPodAutoscalers("default").Create(t.Context(), hpa, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n := *got.Spec.Metrics[0].Resource.Target.AverageUtilization; n != 70 {
		t.Errorf("utilization %d", n)
	}
	if n := len(exact.requests()); n != 0 {
		t.Errorf("the exact one was asked %d times", n)
	}
	asked := equivalent.requests()
	if len(asked) != 1 {
		t.Fatalf("asked %d times", len(asked))
	}
	r := asked[0]
	if r.Kind.Version != "v1" || r.Resource.Version != "v1" || r.RequestKind.Version != "v2" || r.RequestResource.Version != "v2" {
		t.Errorf("kind %v %v, asked for %v %v", r.Kind, r.Resource, r.RequestKind, r.RequestResource)
	}
	if text := string(r.Object.Raw); !strings.Contains(text, `"apiVersion":"autoscaling/v1"`) || !strings.Contains(text, `"targetCPUUtilizationPercentage":70`) {
		t.Errorf("object %s", text)
	}
}

// What webhooks are told of a request, beside the object.
func TestReviews(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	ctx := t.Context()
	r := answers(t, nil)
	all := append(ruleFor("*", "", "configmaps"), ruleFor("*", "", "pods")...)
	all = append(all, ruleFor("*", "", "pods/eviction")...)
	all = append(all, ruleFor("*", "", "namespaces")...)
	validatingHook(t, c, "all", r, all, nil)
	cm := &corev1.ConfigMap{ObjectMeta: meta("c")}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{FieldManager: "me", DryRun: []string{"All"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ConfigMaps("default").Patch(ctx, "c", "application/merge-patch+json", []byte(`{"data":{"a":"b"}}`), metav1.PatchOptions{FieldManager: "me"}); err != nil {
		t.Fatal(err)
	}
	grace := int64(7)
	if err := c.CoreV1().ConfigMaps("default").Delete(ctx, "c", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: meta("n")}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the service account", func(context.Context) bool {
		_, err := c.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err == nil
	})
	if _, err := c.CoreV1().Pods("default").Create(ctx, pod(nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.PolicyV1().Evictions("default").Evict(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, q := range r.requests() {
		if q.Name == "kube-root-ca.crt" {
			continue // a controller's, whenever it comes to it
		}
		got = append(got, fmt.Sprintf("%s %s/%s %s %s/%s dry=%v %s old=%v", q.Operation, q.Resource.Resource, q.SubResource, q.Kind.Kind, q.Namespace, q.Name, *q.DryRun, q.Options.Raw, len(q.OldObject.Raw) > 4))
	}
	want := []string{
		`CREATE configmaps/ ConfigMap default/c dry=true {"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1","dryRun":["All"],"fieldManager":"me"} old=false`,
		`CREATE configmaps/ ConfigMap default/c dry=false {"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"} old=false`,
		`UPDATE configmaps/ ConfigMap default/c dry=false {"kind":"UpdateOptions","apiVersion":"meta.k8s.io/v1","fieldManager":"me"} old=true`,
		`DELETE configmaps/ ConfigMap default/c dry=false {"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1","gracePeriodSeconds":7} old=true`,
		`CREATE namespaces/ Namespace n/n dry=false {"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"} old=false`,
		`CREATE pods/ Pod default/p dry=false {"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"} old=false`,
		`CREATE pods/eviction Eviction default/p dry=false {"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"} old=false`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestBadAnswers(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	patch := admissionv1.PatchTypeJSONPatch
	for name, tt := range map[string]struct {
		mutating bool
		answer   func(*admissionv1.AdmissionReview) []byte
		err      string
	}{
		"uid": {false, func(r *admissionv1.AdmissionReview) []byte { r.Response.UID = "other"; return nil },
			`failed calling webhook "uid.example.com": received invalid webhook response: expected response.uid=`},
		"empty": {false, func(r *admissionv1.AdmissionReview) []byte { r.Response = nil; return nil }, "received invalid webhook response: webhook response was absent"},
		"kind":  {false, func(r *admissionv1.AdmissionReview) []byte { return []byte(`{"kind":"Status","apiVersion":"v1"}`) }, `failed calling webhook "kind.example.com"`},
		"text":  {false, func(r *admissionv1.AdmissionReview) []byte { return []byte(`nonsense`) }, `failed calling webhook "text.example.com": failed to call webhook`},
		"patching": {false, func(r *admissionv1.AdmissionReview) []byte {
			r.Response.Patch, r.Response.PatchType = []byte(`[]`), &patch
			return nil
		}, "validating webhook may not return response.patch"},
		"untyped":   {true, func(r *admissionv1.AdmissionReview) []byte { r.Response.Patch = []byte(`[]`); return nil }, "webhook returned response.patch but not response.patchType"},
		"unpatched": {true, func(r *admissionv1.AdmissionReview) []byte { r.Response.PatchType = &patch; return nil }, "webhook returned response.patchType but not response.patch"},
		"undecodable": {true, func(r *admissionv1.AdmissionReview) []byte {
			r.Response.Patch, r.Response.PatchType = []byte(`{`), &patch
			return nil
		}, "received undecodable patch in webhook response"},
		"inapplicable": {true, func(r *admissionv1.AdmissionReview) []byte {
			r.Response.Patch, r.Response.PatchType = []byte(`[{"op":"remove","path":"/data/nothing"}]`), &patch
			return nil
		}, "Internal error occurred"},
		"denial": {true, func(r *admissionv1.AdmissionReview) []byte {
			r.Response.Allowed, r.Response.Result = false, &metav1.Status{Code: 402, Message: "pay first"}
			return nil
		}, `admission webhook "denial.example.com" denied the request: pay first`},
		"silence": {false, func(r *admissionv1.AdmissionReview) []byte { r.Response.Allowed = false; return nil }, `denied the request without explanation`},
	} {
		t.Run(name, func(t *testing.T) {
			r, rules := answers(t, tt.answer), ruleFor("CREATE", "", "configmaps")
			labels := map[string]string{"case": name}
			if tt.mutating {
				mutatingHook(t, c, name, r, rules, func(h *admissionregistrationv1.MutatingWebhook) {
					h.ObjectSelector = &metav1.LabelSelector{MatchLabels: labels}
				})
			} else {
				validatingHook(t, c, name, r, rules, func(h *admissionregistrationv1.ValidatingWebhook) {
					h.ObjectSelector = &metav1.LabelSelector{MatchLabels: labels}
				})
			}
			_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
			wantError(t, err, tt.err)
		})
	}
}

// What webhooks and policies leave in the audit event.
func TestAuditAnnotations(t *testing.T) {
	s := apiservertest.Start(t)
	c := clientFor(t, s.Admin(t))
	patch := admissionv1.PatchTypeJSONPatch
	rules := ruleFor("CREATE", "", "configmaps")
	mutatingHook(t, c, "change", answers(t, func(r *admissionv1.AdmissionReview) []byte {
		r.Response.Patch, r.Response.PatchType = []byte(`[{"op":"add","path":"/data","value":{"a":"b"}}]`), &patch
		r.Response.AuditAnnotations = map[string]string{"note": "changed"}
		return nil
	}), rules, nil)
	gone := answers(t, func(*admissionv1.AdmissionReview) []byte { return []byte("?") })
	validatingHook(t, c, "open", gone, rules, func(h *admissionregistrationv1.ValidatingWebhook) {
		ignore := admissionregistrationv1.Ignore
		h.FailurePolicy = &ignore
	})
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: meta("audited"), Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: matching("", "configmaps", ""), Validations: []admissionregistrationv1.Validation{{Expression: "object.data.size() > 1", Message: "too few"}},
		AuditAnnotations: []admissionregistrationv1.AuditAnnotation{{Key: "size", ValueExpression: "string(object.data.size())"}, {Key: "none", ValueExpression: "null"}}}}
	if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta("audited"), Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: "audited", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit}}}
	if _, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().Create(t.Context(), b, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx := audit.WithAuditContext(t.Context())
	event := audit.AuditContextFrom(ctx)
	if err := event.Init(audit.RequestAuditConfig{Level: auditapi.LevelRequest}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := api.ConfigMaps.Create(ctx, s.Client, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}}); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"change.example.com/note":                                         "changed",
		"mutation.webhook.admission.k8s.io/round_0_index_0":               `{"configuration":"change","webhook":"change.example.com","mutated":true}`,
		"patch.webhook.admission.k8s.io/round_0_index_0":                  `{"configuration":"change","webhook":"change.example.com","patch":[{"op":"add","path":"/data","value":{"a":"b"}}],"patchType":"JSONPatch"}`,
		"failed-open.validating.webhook.admission.k8s.io/round_0_index_0": "open.example.com",
		"audited/size": "1",
		"validation.policy.admission.k8s.io/validation_failure": `[{"message":"too few","policy":"audited","binding":"audited","expressionIndex":0,"validationActions":["Audit"]}]`,
	} {
		if got, _ := event.GetEventAnnotation(key); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", key, got, want)
		}
	}
	if _, ok := event.GetEventAnnotation("audited/none"); ok {
		t.Error("an expression that is null made an annotation")
	}
}
