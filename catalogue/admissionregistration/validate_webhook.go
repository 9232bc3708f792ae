package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// A hook is what webhooks of both sorts have in common, and what mutating ones have besides.
type hook struct {
	name         string
	rules        []admissionv1.RuleWithOperations
	failure      *admissionv1.FailurePolicyType
	match        *admissionv1.MatchPolicyType
	effects      *admissionv1.SideEffectClass
	timeout      *int32
	namespaces   *metav1.LabelSelector
	objects      *metav1.LabelSelector
	reinvocation *admissionv1.ReinvocationPolicyType // nil for validating ones
	client       admissionv1.WebhookClientConfig
	versions     []string
	conditions   []admissionv1.MatchCondition
}

func validatingHooks(c *admissionv1.ValidatingWebhookConfiguration) []hook {
	var out []hook
	for _, w := range c.Webhooks {
		out = append(out, hook{w.Name, w.Rules, w.FailurePolicy, w.MatchPolicy, w.SideEffects, w.TimeoutSeconds, w.NamespaceSelector, w.ObjectSelector, nil, w.ClientConfig, w.AdmissionReviewVersions, w.MatchConditions})
	}
	return out
}

func mutatingHooks(c *admissionv1.MutatingWebhookConfiguration) []hook {
	var out []hook
	for _, w := range c.Webhooks {
		out = append(out, hook{w.Name, w.Rules, w.FailurePolicy, w.MatchPolicy, w.SideEffects, w.TimeoutSeconds, w.NamespaceSelector, w.ObjectSelector, w.ReinvocationPolicy, w.ClientConfig, w.AdmissionReviewVersions, w.MatchConditions})
	}
	return out
}

func validateValidatingHooks(c *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return validateHooks(validatingHooks(c), leniency{})
}

func validateValidatingHooksUpdate(c, old *admissionv1.ValidatingWebhookConfiguration) field.ErrorList {
	return validateHooks(validatingHooks(c), lenient(validatingHooks(c), validatingHooks(old)))
}

func validateMutatingHooks(c *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return validateHooks(mutatingHooks(c), leniency{})
}

func validateMutatingHooksUpdate(c, old *admissionv1.MutatingWebhookConfiguration) field.ErrorList {
	return validateHooks(mutatingHooks(c), lenient(mutatingHooks(c), mutatingHooks(old)))
}

func validateHooks(hooks []hook, allow leniency) field.ErrorList {
	f := &rule.Faults{}
	x := &expressions{faults: f, before: allow.expressions}
	names := rule.Seen[string]{}
	for i, h := range hooks {
		at := field.NewPath("webhooks").Index(i)
		validateHook(x, h, allow, at)
		reviewVersions(f, h.versions, allow.versions, at.Child("admissionReviewVersions"))
		if !allow.names && h.name != "" && names.Again(h.name) {
			f.Duplicate(at.Child("name"), h.name)
		}
	}
	return f.List
}

func validateHook(x *expressions, h hook, allow leniency, at *field.Path) {
	f := x.faults
	f.Add(utilvalidation.IsFullyQualifiedName(at.Child("name"), h.name)...)
	for i := range h.rules {
		operationRule(f, &h.rules[i], at.Child("rules").Index(i))
	}
	policies(f, h.failure, h.match, at)
	sideEffects(f, h.effects, allow.effects, at.Child("sideEffects"))
	if t := h.timeout; t != nil && (*t < 1 || *t > 30) {
		f.Invalid(at.Child("timeoutSeconds"), *t, "the timeout value must be between 1 and 30 seconds")
	}
	f.Selector(at.Child("namespaceSelector"), h.namespaces, allow.selectors)
	f.Selector(at.Child("objectSelector"), h.objects, allow.selectors)
	if p := h.reinvocation; p != nil {
		rule.OneOf(f, at.Child("reinvocationPolicy"), *p, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	}
	clientConfig(f, &h.client, at.Child("clientConfig"))
	if !allow.conditions {
		x.matchConditions(h.conditions, at.Child("matchConditions"))
	}
}

// harmless are the side effects that new webhooks may have, allEffects those that old ones had.
var (
	harmless   = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	allEffects = []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun, admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown}
)

func sideEffects(f *rule.Faults, effects *admissionv1.SideEffectClass, any bool, at *field.Path) {
	allowed := harmless
	if any {
		allowed = allEffects
	}
	if effects != nil {
		rule.OneOf(f, at, *effects, allowed...)
		return
	}
	names := make([]string, len(allowed))
	for i, e := range allowed {
		names[i] = string(e)
	}
	f.Required(at, "must specify one of "+strings.Join(names, ", "))
}

func policies(f *rule.Faults, failure *admissionv1.FailurePolicyType, match *admissionv1.MatchPolicyType, at *field.Path) {
	if failure != nil {
		rule.OneOf(f, at.Child("failurePolicy"), *failure, admissionv1.Fail, admissionv1.Ignore)
	}
	if match != nil {
		rule.OneOf(f, at.Child("matchPolicy"), *match, admissionv1.Equivalent, admissionv1.Exact)
	}
}

func reviewVersions(f *rule.Faults, versions []string, any bool, at *field.Path) {
	if len(versions) == 0 {
		f.Required(at, "must specify one of v1, v1beta1")
		return
	}
	seen := rule.Seen[string]{}
	for i, version := range versions {
		if seen.Again(version) {
			f.Invalid(at.Index(i), version, "duplicate version")
			continue
		}
		f.Each(at.Index(i), version, utilvalidation.IsDNS1035Label(version))
	}
	if !any && !seen["v1"] && !seen["v1beta1"] {
		f.Invalid(at, versions, "must include at least one of v1, v1beta1")
	}
}

func operationRule(f *rule.Faults, r *admissionv1.RuleWithOperations, at *field.Path) {
	if len(r.Operations) == 0 {
		f.Required(at.Child("operations"), "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		f.Invalid(at.Child("operations"), r.Operations, "if '*' is present, must not specify other operations")
	}
	for i, op := range r.Operations {
		rule.OneOf(f, at.Child("operations").Index(i), op, admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)
	}
	resourceRule(f, &r.Rule, at)
}

func resourceRule(f *rule.Faults, r *admissionv1.Rule, at *field.Path) {
	list := func(name, what string, values []string) {
		if len(values) == 0 {
			f.Required(at.Child(name), "")
		}
		if len(values) > 1 && slices.Contains(values, "*") {
			f.Invalid(at.Child(name), values, "if '*' is present, must not specify other API "+what)
		}
	}
	list("apiGroups", "groups", r.APIGroups)
	list("apiVersions", "versions", r.APIVersions)
	for i, version := range r.APIVersions {
		f.Need(at.Child("apiVersions").Index(i), version)
	}
	ruleResources(f, r.Resources, at.Child("resources"))
	if r.Scope != nil {
		rule.OneOf(f, at.Child("scope"), *r.Scope, admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)
	}
}

// ruleResources refuses entries that a wildcard beside them covers already.
func ruleResources(f *rule.Faults, list []string, at *field.Path) {
	if len(list) == 0 {
		f.Required(at, "")
	}
	anySub, anyResource := map[string]bool{}, map[string]bool{}
	bare := false
	for i, entry := range list {
		if !f.Need(at.Index(i), entry) {
			continue
		}
		resource, sub, ok := strings.Cut(entry, "/")
		if !ok {
			bare = entry != "*" // the last one decides, as upstream
			continue
		}
		if anySub[resource] {
			f.Invalid(at.Index(i), entry, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, entry))
		}
		if anyResource[sub] {
			f.Invalid(at.Index(i), entry, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, entry))
		}
		anySub[resource] = anySub[resource] || sub == "*"
		anyResource[sub] = anyResource[sub] || resource == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		f.Invalid(at, list, "if '*/*' is present, must not specify other resources")
	}
	if bare && slices.Contains(list, "*") {
		f.Invalid(at, list, "if '*' is present, must not specify other resources without subresources")
	}
}
