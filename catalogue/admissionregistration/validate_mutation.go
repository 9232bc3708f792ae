package admissionregistration

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"

	"clipper/catalogue/rule"
)

func validateMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	return checkMutatingPolicy(p, map[string]bool{}, false)
}

func validateMutatingPolicyUpdate(p, old *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
	before := map[string]bool{}
	for _, c := range old.Spec.MatchConditions {
		before[c.Expression] = true
	}
	for _, m := range old.Spec.Mutations {
		if m.ApplyConfiguration != nil {
			before[m.ApplyConfiguration.Expression] = true
		}
		if m.JSONPatch != nil {
			before[m.JSONPatch.Expression] = true
		}
	}
	same := equality.Semantic.DeepEqual(p.Spec.ParamKind, old.Spec.ParamKind) && equality.Semantic.DeepEqual(p.Spec.MatchConditions, old.Spec.MatchConditions)
	return checkMutatingPolicy(p, before, same)
}

func checkMutatingPolicy(p *admissionv1.MutatingAdmissionPolicy, before map[string]bool, sameConditions bool) field.ErrorList {
	f, s := &rule.Faults{}, &p.Spec
	x := &expressions{faults: f, params: s.ParamKind != nil, before: before}
	x.compose()
	policyFrame(f, s.FailurePolicy, s.ParamKind, s.MatchConstraints)
	if s.MatchConstraints != nil {
		mutableOperations(f, s.MatchConstraints.ResourceRules, specPath.Child("matchConstraints"))
	}
	if !sameConditions {
		x.matchConditions(s.MatchConditions, specPath.Child("matchConditions"))
	}
	variables(x, s.Variables)
	if len(s.Mutations) == 0 {
		f.Required(specPath.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range s.Mutations {
		mutation(x, &s.Mutations[i], specPath.Child("mutations").Index(i))
	}
	if p := s.ReinvocationPolicy; p != "" {
		rule.OneOf(f, specPath.Child("reinvocationPolicy"), p, admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	} else {
		f.Required(specPath.Child("reinvocationPolicy"), "")
	}
	return f.List
}

// mutableOperations refuses rules for deletes, in which there is nothing to change.
func mutableOperations(f *rule.Faults, rules []admissionv1.NamedRuleWithOperations, at *field.Path) {
	for _, r := range rules {
		for _, op := range r.Operations {
			rule.OneOf(f, at.Child("resourceRules", "operations"), op, admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update)
		}
	}
}

// A form is one of those in which a mutation can be written: its field, and the expression if it is there.
type form struct {
	field      string
	expression *string
	compiled   func(expression string) cel.ExpressionAccessor
}

func mutation(x *expressions, m *admissionv1.Mutation, at *field.Path) {
	apply := form{field: "applyConfiguration", compiled: func(e string) cel.ExpressionAccessor { return &patch.ApplyConfigurationCondition{Expression: e} }}
	if m.ApplyConfiguration != nil {
		apply.expression = &m.ApplyConfiguration.Expression
	}
	jsonPatch := form{field: "jsonPatch", compiled: func(e string) cel.ExpressionAccessor { return &patch.JSONPatchCondition{Expression: e} }}
	if m.JSONPatch != nil {
		jsonPatch.expression = &m.JSONPatch.Expression
	}
	switch m.PatchType {
	case "":
		x.faults.Required(at.Child("patchType"), "")
	case admissionv1.PatchTypeApplyConfiguration:
		x.form(at, m.PatchType, apply, jsonPatch)
	case admissionv1.PatchTypeJSONPatch:
		x.form(at, m.PatchType, jsonPatch, apply)
	default:
		rule.OneOf(x.faults, at.Child("patchType"), m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
	}
}

// form checks a mutation whose type chooses one form; the other must not be there.
func (x *expressions) form(at *field.Path, chooses admissionv1.PatchType, chosen, other form) {
	if e := chosen.expression; e == nil {
		x.faults.Required(at.Child(chosen.field), "must be specified when patchType is "+string(chooses))
	} else {
		x.patch(at.Child(chosen.field, "expression"), *e, chosen.compiled(strings.TrimSpace(*e)))
	}
	if other.expression != nil {
		x.faults.Invalid(at.Child(other.field), "{"+other.field+"}", "must not be specified when patchType is "+string(chooses))
	}
}

// patch checks the expression that makes a patch.
func (x *expressions) patch(at *field.Path, text string, e cel.ExpressionAccessor) {
	if e.GetExpression() == "" {
		x.faults.Required(at, "")
		return
	}
	x.check(x.compiler(), at, text, e, cel.OptionalVariableDeclarations{HasAuthorizer: true, HasPatchTypes: true})
}
