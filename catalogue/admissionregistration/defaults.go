package admissionregistration

import (
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/catalogue/rule"
)

// defaultMatch fills in what webhooks of both sorts say about the objects they want to see.
func defaultMatch(failure **admissionv1.FailurePolicyType, match **admissionv1.MatchPolicyType, namespaces, objects **metav1.LabelSelector) {
	rule.SetIfNil(failure, admissionv1.Fail)
	rule.SetIfNil(match, admissionv1.Equivalent)
	rule.SetIfNil(namespaces, metav1.LabelSelector{})
	rule.SetIfNil(objects, metav1.LabelSelector{})
}

// defaultCall fills in how and for what a webhook is called.
func defaultCall(client *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations, timeout **int32) {
	rule.SetIfNil(timeout, 10)
	if client.Service != nil {
		rule.SetIfNil(&client.Service.Port, 443)
	}
	for i := range rules {
		rule.SetIfNil(&rules[i].Scope, admissionv1.AllScopes)
	}
}

// defaultMatchResources fills in the constraints of a policy or its binding.
func defaultMatchResources(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	rule.SetIfNil(&m.MatchPolicy, admissionv1.Equivalent)
	rule.SetIfNil(&m.NamespaceSelector, metav1.LabelSelector{})
	rule.SetIfNil(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			rule.SetIfNil(&rules[i].Scope, admissionv1.AllScopes)
		}
	}
}
