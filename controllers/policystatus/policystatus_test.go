package policystatus_test

import (
	"context"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/catalogue"
	"clipper/controllers/policystatus"
	"clipper/openapi"
)

// TestTypesAreChecked: a comparison that can never hold is reported, with its place; what is right is not.
func TestTypesAreChecked(t *testing.T) {
	c := inprocesstest.New(t)
	resources := func() []*catalogue.Resource { return c.Table().Resources }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- policystatus.New(c, resources, openapi.Resolver{Resources: resources}).Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{RuleWithOperations: admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{"*"}, Rule: admissionregistrationv1.Rule{APIGroups: []string{"apps"}, APIVersions: []string{"v1"}, Resources: []string{"deployments"}}}}}},
		Validations: []admissionregistrationv1.Validation{
			{Expression: "object.spec.replicas > 1"},
			{Expression: "object.spec.replicas > '1'", MessageExpression: "string(object.spec.repicas)"}}}}
	if _, err := api.ValidatingAdmissionPolicies.Create(ctx, c, p); err != nil {
		t.Fatal(err)
	}
	status := observed(t, c, 1)
	if status.TypeChecking == nil || len(status.TypeChecking.ExpressionWarnings) != 2 {
		t.Fatalf("status %+v", status)
	}
	for i, want := range []struct{ at, text string }{
		{"spec.validations[1].expression", "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"},
		{"spec.validations[1].messageExpression", "undefined field 'repicas'"},
	} {
		if w := status.TypeChecking.ExpressionWarnings[i]; w.FieldRef != want.at || !strings.Contains(w.Warning, want.text) {
			t.Errorf("warning %d: %s: %s", i, w.FieldRef, w.Warning)
		}
	}
	stored, _ := api.ValidatingAdmissionPolicies.View(c).Get("", "p")
	next := stored.DeepCopy()
	next.Spec.Validations = next.Spec.Validations[:1]
	if _, err := api.ValidatingAdmissionPolicies.Update(ctx, c, next); err != nil {
		t.Fatal(err)
	}
	if status = observed(t, c, 2); status.TypeChecking != nil && len(status.TypeChecking.ExpressionWarnings) != 0 {
		t.Errorf("status %+v", status)
	}
}

func observed(t *testing.T, c api.Client, generation int64) (status admissionregistrationv1.ValidatingAdmissionPolicyStatus) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) {
		p, ok := api.ValidatingAdmissionPolicies.View(c).Get("", "p")
		if ok {
			status = p.Status
		}
		return ok && status.ObservedGeneration == generation, nil
	})
	if err != nil {
		t.Fatalf("generation %d was not observed: %+v", generation, status)
	}
	return status
}
