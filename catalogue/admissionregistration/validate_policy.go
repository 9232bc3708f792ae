package admissionregistration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	pathvalidation "k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"

	"clipper/catalogue/rule"
)

var specPath = field.NewPath("spec")

const (
	maxAuditAnnotations    = 20
	maxAnnotationValueText = 5 << 10
)

func validatePolicy(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	return checkPolicy(p, map[string]bool{}, false)
}

func validatePolicyUpdate(p, old *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
	before := map[string]bool{}
	for _, c := range old.Spec.MatchConditions {
		before[c.Expression] = true
	}
	for _, v := range old.Spec.Validations {
		before[v.Expression], before[v.MessageExpression] = true, true
	}
	for _, a := range old.Spec.AuditAnnotations {
		before[a.ValueExpression] = true
	}
	same := equality.Semantic.DeepEqual(p.Spec.ParamKind, old.Spec.ParamKind) && equality.Semantic.DeepEqual(p.Spec.MatchConditions, old.Spec.MatchConditions)
	return checkPolicy(p, before, same)
}

func checkPolicy(p *admissionv1.ValidatingAdmissionPolicy, before map[string]bool, sameConditions bool) field.ErrorList {
	f, s := &rule.Faults{}, &p.Spec
	x := &expressions{faults: f, params: s.ParamKind != nil, before: before}
	policyFrame(f, s.FailurePolicy, s.ParamKind, s.MatchConstraints)
	if !sameConditions {
		x.matchConditions(s.MatchConditions, specPath.Child("matchConditions"))
	}
	if len(s.Variables) > 0 {
		x.compose()
	}
	variables(x, s.Variables)
	if len(s.Validations)+len(s.AuditAnnotations) == 0 {
		const one = "validations or auditAnnotations must contain at least one item"
		f.Required(specPath.Child("validations"), one)
		f.Required(specPath.Child("auditAnnotations"), one)
	}
	for i := range s.Validations {
		validation(x, &s.Validations[i], specPath.Child("validations").Index(i))
	}
	auditAnnotations(x, p.Name, s.AuditAnnotations, specPath.Child("auditAnnotations"))
	return f.List
}

func auditAnnotations(x *expressions, policy string, list []admissionv1.AuditAnnotation, at *field.Path) {
	f := x.faults
	if len(list) > maxAuditAnnotations {
		f.Invalid(at, list, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	keys := rule.Seen[string]{}
	for i, a := range list {
		if policy == "" {
			f.Invalid(at.Index(i).Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			f.QualifiedName(at.Index(i).Child("key"), policy+"/"+a.Key)
		}
		value(x, a.ValueExpression, at.Index(i).Child("valueExpression"))
		if keys.Again(a.Key) {
			f.Duplicate(at.Index(i).Child("key"), a.Key)
		}
	}
}

func value(x *expressions, text string, at *field.Path) {
	switch trimmed := strings.TrimSpace(text); {
	case trimmed == "":
		x.faults.Required(at, "valueExpression is not specified")
	case len(trimmed) > maxAnnotationValueText:
		x.faults.Required(at, fmt.Sprintf("must not exceed %d bytes in length", maxAnnotationValueText))
	default:
		vars := cel.OptionalVariableDeclarations{HasParams: x.params, HasAuthorizer: true}
		result := x.compiler().CompileCELExpression(&validating.AuditAnnotationCondition{ValueExpression: trimmed}, vars, x.mode(text))
		x.report(at, text, result.Error)
	}
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

func validation(x *expressions, v *admissionv1.Validation, at *field.Path) {
	f := x.faults
	if strings.TrimSpace(v.Expression) == "" {
		f.Required(at.Child("expression"), "expression is not specified")
	} else {
		x.check(x.compiler(), at.Child("expression"), v.Expression, &validating.ValidationCondition{Expression: v.Expression}, cel.OptionalVariableDeclarations{HasAuthorizer: true})
	}
	switch {
	case v.MessageExpression == "":
	case strings.TrimSpace(v.MessageExpression) == "":
		f.Invalid(at.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
	default:
		x.check(x.compiler(), at.Child("messageExpression"), v.MessageExpression, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, cel.OptionalVariableDeclarations{})
	}
	message := strings.TrimSpace(v.Message)
	switch {
	case v.Message != "" && message == "":
		f.Invalid(at.Child("message"), v.Message, "must be non-empty if specified")
	case strings.ContainsAny(message, "\n\r"):
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

func variables(x *expressions, list []admissionv1.Variable) {
	f := x.faults
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
		} else {
			x.variable(at.Child("expression"), v)
		}
	}
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
	if m := b.Spec.MatchResources; m != nil {
		mutableOperations(f, m.ResourceRules, specPath.Child("matchResources"))
	}
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
