package reviews

import (
	"context"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/apiserver/pipeline"
)

// An asker answers every question with no and keeps it.
type asker struct {
	authorizer.RuleResolver
	asked authorizer.Attributes
}

func (a *asker) Authorize(_ context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	a.asked = attrs
	return authorizer.DecisionNoOpinion, "", nil
}

func TestSelectors(t *testing.T) {
	field := func(raw string, reqs ...metav1.FieldSelectorRequirement) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", FieldSelector: &authorizationv1.FieldSelectorAttributes{RawSelector: raw, Requirements: reqs}}
	}
	label := func(raw string, reqs ...metav1.LabelSelectorRequirement) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", LabelSelector: &authorizationv1.LabelSelectorAttributes{RawSelector: raw, Requirements: reqs}}
	}
	in := func(op metav1.FieldSelectorOperator, values ...string) metav1.FieldSelectorRequirement {
		return metav1.FieldSelectorRequirement{Key: "spec.nodeName", Operator: op, Values: values}
	}
	for _, tt := range []struct {
		name           string
		attributes     *authorizationv1.ResourceAttributes
		fields, labels int
		evaluation     string
		err            string
	}{
		{name: "raw field", attributes: field("spec.nodeName=n1"), fields: 1},
		{name: "field", attributes: field("", in("In", "n1")), fields: 1},
		{name: "half understood", attributes: field("", in("In", "n1"), in("Near", "n1")), fields: 1,
			evaluation: "spec.resourceAttributes.fieldSelector partially ignored due to parse error"},
		{name: "not understood", attributes: field("a in b"), evaluation: "spec.resourceAttributes.fieldSelector ignored due to parse error"},
		{name: "both forms", attributes: field("a=b", in("In", "n1")), err: "may not specified at the same time as requirements"},
		{name: "no form", attributes: field(""), err: "when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required"},
		{name: "raw label", attributes: label("a=b,c"), labels: 2},
		{name: "label", attributes: label("", metav1.LabelSelectorRequirement{Key: "a", Operator: "Exists"}), labels: 1},
		{name: "bad label", attributes: label("=,="), evaluation: "spec.resourceAttributes.labelSelector ignored due to parse error"},
		{name: "In without values", attributes: label("", metav1.LabelSelectorRequirement{Key: "a", Operator: "In"}), err: "must be specified when `operator` is 'In' or 'NotIn'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			az := &asker{}
			out, err := ask(t, Config{Authorizer: az}, "selfsubjectaccessreviews", pipeline.Request{User: &user.DefaultInfo{Name: "ann"}},
				&authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: tt.attributes}})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			f, _ := az.asked.GetFieldSelector()
			l, _ := az.asked.GetLabelSelector()
			if len(f) != tt.fields || len(l) != tt.labels || out.Status.EvaluationError != tt.evaluation {
				t.Errorf("fields %v, labels %v, %q", f, l, out.Status.EvaluationError)
			}
		})
	}
}

func TestReviewsAreNoObjects(t *testing.T) {
	cfg := Config{Authorizer: &asker{}}
	_, err := ask(t, cfg, "selfsubjectaccessreviews", pipeline.Request{User: &user.DefaultInfo{Name: "ann"}}, &authorizationv1.SelfSubjectAccessReview{
		ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: authorizationv1.SelfSubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/"}}})
	if err == nil || !strings.Contains(err.Error(), "must be empty") {
		t.Errorf("%v", err)
	}
}
