package admissionregistration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

var specPath = field.NewPath("spec")

const maxAuditAnnotations = 20

func validatePolicy(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	f, s := &rule.Faults{}, &p.Spec
	policyFrame(f, s.FailurePolicy, s.ParamKind, s.MatchConstraints)
	matchConditions(f, s.MatchConditions, specPath.Child("matchConditions"))
	variables(f, s.Variables)
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		const one = "validations or auditAnnotations must contain at least one item"
		f.Required(specPath.Child("validations"), one)
		f.Required(specPath.Child("auditAnnotations"), one)
	}
	for i := range s.Validations {
		validation(f, &s.Validations[i], specPath.Child("validations").Index(i))
	}
	at := specPath.Child("auditAnnotations")
	if len(s.AuditAnnotations) > maxAuditAnnotations {
		f.Invalid(at, s.AuditAnnotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	keys := rule.Seen[string]{}
	for i, a := range s.AuditAnnotations {
		f.QualifiedName(at.Index(i).Child("key"), p.Name+"/"+a.Key)
		if strings.TrimSpace(a.ValueExpression) == "" {
			f.Required(at.Index(i).Child("valueExpression"), "valueExpression is not specified")
		}
		if keys.Again(a.Key) {
			f.Duplicate(at.Index(i).Child("key"), a.Key)
		}
	}
	return f.List
}

func policyFrame(f *rule.Faults, failure *admissionv1.FailurePolicyType, kind *admissionv1.ParamKind, match *admissionv1.MatchResources) {
	if failure == nil {
		f.Required(specPath.Child("failurePolicy"), "")
	}
	policies(f, failure, nil, specPath)
	if kind != nil {
		validateParamKind(f, kind, specPath.Child("paramKind"))
	}
	at := specPath.Child("matchConstraints")
	if match == nil {
		f.Required(at, "")
		return
	}
	matchResources(f, match, at)
	if len(match.ResourceRules) == 0 {
		f.Required(at.Child("resourceRules"), "")
	}
}

func validation(f *rule.Faults, v *admissionv1.Validation, at *field.Path) {
	if strings.TrimSpace(v.Expression) == "" {
		f.Required(at.Child("expression"), "expression is not specified")
	}
	if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		f.Invalid(at.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
	}
	message := strings.TrimSpace(v.Message)
	switch {
	case v.Message != "" && message == "":
		f.Invalid(at.Child("message"), v.Message, "must be non-empty if specified")
	case strings.Contains(message, "\n"):
		f.Invalid(at.Child("message"), v.Message, "must not contain line breaks")
	}
	if r := v.Reason; r != nil {
		rule.OneOf(f, at.Child("reason"), *r, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
	}
}

var (
	celIdentifier = regexp.MustCompile(`^[_a-zA-Z][_a-zA-Z0-9]*$`)
	celReserved   = strings.Fields(`true false null in as break const continue else for function if import let
		loop package namespace return var void while`)
)

func variables(f *rule.Faults, list []admissionv1.Variable) {
	for i, v := range list {
		at := specPath.Child("variables").Index(i)
		switch {
		case strings.TrimSpace(v.Name) == "":
			f.Required(at.Child("name"), "name is not specified")
		case !celIdentifier.MatchString(v.Name), slices.Contains(celReserved, v.Name):
			f.Invalid(at.Child("name"), v.Name, "must be a valid CEL identifier")
		}
		if strings.TrimSpace(v.Expression) == "" {
			f.Required(at.Child("expression"), "expression is not specified")
		}
	}
}

func validateMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	f, s := &rule.Faults{}, &p.Spec
	policyFrame(f, s.FailurePolicy, s.ParamKind, s.MatchConstraints)
	matchConditions(f, s.MatchConditions, specPath.Child("matchConditions"))
	variables(f, s.Variables)
	if len(s.Mutations) == 0 {
		f.Required(specPath.Child("mutations"), "mutations must contain at least one item")
	}
	for i, m := range s.Mutations {
		at := specPath.Child("mutations").Index(i)
		switch {
		case m.PatchType == "":
			f.Required(at.Child("patchType"), "")
		default:
			rule.OneOf(f, at.Child("patchType"), m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
		}
		source := func(name string, of admissionv1.PatchType, set bool) {
			if m.PatchType == of && !set {
				f.Required(at.Child(name), "must be specified when patchType is "+string(of))
			}
			if m.PatchType != of && set {
				f.Invalid(at.Child(name), "{"+name+"}", "must not be specified when patchType is "+string(m.PatchType))
			}
		}
		source("applyConfiguration", admissionv1.PatchTypeApplyConfiguration, m.ApplyConfiguration != nil)
		source("jsonPatch", admissionv1.PatchTypeJSONPatch, m.JSONPatch != nil)
	}
	if p := s.ReinvocationPolicy; p != "" {
		rule.OneOf(f, specPath.Child("reinvocationPolicy"), p, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	} else {
		f.Required(specPath.Child("reinvocationPolicy"), "")
	}
	return f.List
}

func validateParamKind(f *rule.Faults, k *admissionv1.ParamKind, at *field.Path) {
	path := at.Child("apiVersion")
	if f.Need(path, k.APIVersion) {
		group, version, ok := strings.Cut(k.APIVersion, "/")
		if !ok {
			group, version = "", k.APIVersion
		}
		if messages := utilvalidation.IsDNS1123Subdomain(group); group != "" && len(messages) > 0 {
			f.Invalid(path, group, strings.Join(messages, ","))
		}
		if version == "" {
			f.Invalid(path, k.APIVersion, "version must be specified")
		} else if messages := utilvalidation.IsDNS1035Label(version); len(messages) > 0 {
			f.Invalid(path, version, strings.Join(messages, ","))
		}
	}
	if f.Need(at.Child("kind"), k.Kind) {
		if messages := utilvalidation.IsDNS1035Label(strings.ToLower(k.Kind)); len(messages) > 0 {
			f.Invalid(at.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(messages, ","))
		}
	}
}

func matchResources(f *rule.Faults, m *admissionv1.MatchResources, at *field.Path) {
	if m == nil {
		return
	}
	policies(f, nil, m.MatchPolicy, at)
	if m.MatchPolicy == nil {
		f.Required(at.Child("matchPolicy"), "")
	}
	if m.NamespaceSelector == nil {
		f.Required(at.Child("namespaceSelector"), "")
	}
	f.Selector(at.Child("namespaceSelector"), m.NamespaceSelector, false)
	if m.ObjectSelector == nil {
		f.Required(at.Child("objectSelector"), "")
	}
	f.Selector(at.Child("objectSelector"), m.ObjectSelector, false)
	rules := func(list []admissionv1.NamedRuleWithOperations, at *field.Path) {
		for i := range list {
			operationRule(f, &list[i].RuleWithOperations, at.Index(i))
			names := rule.Seen[string]{}
			for j, name := range list[i].ResourceNames {
				path := at.Index(i).Child("resourceNames").Index(j)
				f.Each(path, name, pathvalidation.ValidatePathSegmentName(name, false))
				if names.Again(name) {
					f.Duplicate(path, name)
				}
			}
		}
	}
	rules(m.ResourceRules, at.Child("resourceRules"))
	rules(m.ExcludeResourceRules, at.Child("excludeResourceRules"))
}

func validateBinding(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	f := &rule.Faults{}
	bindingFrame(f, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
	at := specPath.Child("validationActions")
	if len(b.Spec.ValidationActions) == 0 {
		f.Required(at, "at least one validation action is required")
	}
	seen := rule.Seen[admissionv1.ValidationAction]{}
	for i, a := range b.Spec.ValidationActions {
		rule.OneOf(f, at.Index(i), a, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)
		if seen.Again(a) {
			f.Duplicate(at.Index(i), a)
		}
	}
	if seen[admissionv1.Deny] && seen[admissionv1.Warn] {
		f.Invalid(at, b.Spec.ValidationActions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	return f.List
}

func validateMutatingBinding(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	f := &rule.Faults{}
	bindingFrame(f, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
	return f.List
}

func bindingFrame(f *rule.Faults, policy string, ref *admissionv1.ParamRef, match *admissionv1.MatchResources) {
	if f.Need(specPath.Child("policyName"), policy) {
		f.DNSSubdomain(specPath.Child("policyName"), policy)
	}
	if ref != nil {
		validateParamRef(f, ref, specPath.Child("paramRef"))
	}
	matchResources(f, match, specPath.Child("matchResources"))
}

func validateParamRef(f *rule.Faults, r *admissionv1.ParamRef, at *field.Path) {
	const either = "name and selector are mutually exclusive"
	if r.Name != "" {
		f.Each(at.Child("name"), r.Name, pathvalidation.IsValidPathSegmentName(r.Name))
		if r.Selector != nil {
			f.Forbidden(at.Child("name"), either)
		}
	}
	if r.Selector != nil {
		f.Selector(at.Child("selector"), r.Selector, false)
		if r.Name != "" {
			f.Forbidden(at.Child("selector"), either)
		}
	}
	if r.Name == "" && r.Selector == nil {
		f.Required(at, "one of name or selector must be specified")
	}
	if a := r.ParameterNotFoundAction; a == nil || *a == "" {
		f.Required(at.Child("parameterNotFoundAction"), "")
	} else {
		rule.Choice(f, at.Child("parameterNotFoundAction"), *a, admissionv1.DenyAction, admissionv1.AllowAction)
	}
}
