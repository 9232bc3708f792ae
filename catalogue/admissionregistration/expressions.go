package admissionregistration

import (
	"fmt"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"clipper/catalogue/rule"
)

// expressions compiles the CEL of one object, so that a fault is told to its author and not to everybody
// whose writes it would decide.
type expressions struct {
	faults *rule.Faults
	params bool // there are parameters to speak of
	// before holds what the object said before an update: that may use what new expressions must not yet.
	before map[string]bool
	// composed knows the policy's variables; nil for one without, and for webhooks.
	composed *cel.CompositedCompiler
}

// stateless compiles what knows no variables. Its environments are large: they wait for the first expression.
var stateless = sync.OnceValue(func() cel.Compiler { return cel.NewCompiler(baseEnv()) })

func baseEnv() *environment.EnvSet {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())
}

// compose lets later expressions use variables.
func (x *expressions) compose() {
	c, err := cel.NewCompositedCompiler(baseEnv())
	if err != nil {
		x.faults.Add(field.InternalError(specPath, fmt.Errorf("prepare the compiler: %w", err)))
		return
	}
	x.composed = c
}

func (x *expressions) compiler() cel.Compiler {
	if x.composed != nil {
		return x.composed
	}
	return stateless()
}

func (x *expressions) mode(text string) environment.Type {
	if x.before[text] {
		return environment.StoredExpressions
	}
	return environment.NewExpressions
}

// check compiles e, which is what is left of text.
func (x *expressions) check(c cel.Compiler, at *field.Path, text string, e cel.ExpressionAccessor, vars cel.OptionalVariableDeclarations) {
	vars.HasParams = x.params
	x.report(at, e.GetExpression(), c.CompileCELExpression(e, vars, x.mode(text)).Error)
}

func (x *expressions) report(at *field.Path, text string, err *apiservercel.Error) {
	switch {
	case err == nil:
	case err.Type == apiservercel.ErrorTypeRequired:
		x.faults.Required(at, err.Detail)
	case err.Type == apiservercel.ErrorTypeInvalid:
		x.faults.Invalid(at, text, err.Detail)
	default:
		x.faults.Add(field.InternalError(at, err))
	}
}

// variable makes v known to the expressions after it.
func (x *expressions) variable(at *field.Path, v admissionv1.Variable) {
	if x.composed == nil {
		return // reported already
	}
	result := x.composed.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression},
		cel.OptionalVariableDeclarations{HasParams: x.params, HasAuthorizer: true}, x.mode(v.Expression))
	x.report(at, v.Expression, result.Error)
}

const maxConditions = 64

// matchConditions checks conditions, which know no variables.
func (x *expressions) matchConditions(list []admissionv1.MatchCondition, at *field.Path) {
	f := x.faults
	if len(list) > maxConditions {
		f.Add(field.TooMany(at, len(list), maxConditions))
	}
	names := rule.Seen[string]{}
	for i, c := range list {
		path := at.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			f.Required(path.Child("expression"), "")
		} else {
			x.check(stateless(), path.Child("expression"), text, &matchconditions.MatchCondition{Expression: text}, cel.OptionalVariableDeclarations{HasAuthorizer: true})
		}
		if f.Need(path.Child("name"), c.Name) {
			f.QualifiedName(path.Child("name"), c.Name)
			if names.Again(c.Name) {
				f.Duplicate(path.Child("name"), c.Name)
			}
		}
	}
}
