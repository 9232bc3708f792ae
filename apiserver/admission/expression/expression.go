// Package expression compiles the CEL of webhooks' match conditions and of admission policies when they
// are written, so that a fault is told to its author and not to everybody whose writes it would decide.
package expression

import (
	"context"
	"strings"
	"sync"

	celgo "github.com/google/cel-go/cel"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"clipper/apiserver/admission"
)

// Env is the environment that all expressions are compiled in. It is large, so that it waits for the
// first one.
var Env = sync.OnceValues(func() (*environment.EnvSet, error) {
	return environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()).Extend(environment.StrictCostOpt)
})

// An Expression is a piece of CEL with the types that it may have.
type Expression struct {
	Name, Text string
	Returns    []*celgo.Type
}

func (e *Expression) GetName() string            { return e.Name }
func (e *Expression) GetExpression() string      { return e.Text }
func (e *Expression) ReturnTypes() []*celgo.Type { return e.Returns }

// Types of expressions.
var (
	Bool   = []*celgo.Type{celgo.BoolType}
	String = []*celgo.Type{celgo.StringType}
	Any    = []*celgo.Type{celgo.AnyType, celgo.DynType}
)

// A Plugin refuses webhook configurations and policies whose expressions do not compile.
type Plugin struct{}

// Validate compiles what is new.
func (Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Resource.Group != "admissionregistration.k8s.io" || a.Subresource != "" ||
		a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	var faults field.ErrorList
	switch o := a.Object.(type) {
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for i := range o.Webhooks {
			faults = append(faults, conditions(o.Webhooks[i].MatchConditions, false, field.NewPath("webhooks").Index(i))...)
		}
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for i := range o.Webhooks {
			faults = append(faults, conditions(o.Webhooks[i].MatchConditions, false, field.NewPath("webhooks").Index(i))...)
		}
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		faults = policy(o)
	}
	if len(faults) == 0 {
		return nil
	}
	return apierrors.NewInvalid(a.Resource.GVK().GroupKind(), a.Name, faults)
}

func conditions(list []admissionregistrationv1.MatchCondition, params bool, path *field.Path) (faults field.ErrorList) {
	if len(list) == 0 {
		return nil
	}
	set, err := Env()
	if err != nil {
		return field.ErrorList{field.InternalError(path, err)}
	}
	compiler := cel.NewCompiler(set)
	for i := range list {
		if strings.TrimSpace(list[i].Expression) == "" {
			continue // validation says that it is missing
		}
		faults = append(faults, check(compiler, (*matchconditions.MatchCondition)(&list[i]),
			cel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}, path.Child("matchConditions").Index(i).Child("expression"))...)
	}
	return faults
}

func policy(p *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	path, params := field.NewPath("spec"), p.Spec.ParamKind != nil
	faults := conditions(p.Spec.MatchConditions, params, path)
	set, err := Env()
	if err != nil {
		return append(faults, field.InternalError(path, err))
	}
	compiler, err := cel.NewCompositedCompiler(set)
	if err != nil {
		return append(faults, field.InternalError(path, err))
	}
	vars := cel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true}
	for i, v := range p.Spec.Variables {
		e := &Expression{Name: v.Name, Text: v.Expression, Returns: Any}
		if result := compiler.CompileAndStoreVariable(e, vars, environment.NewExpressions); result.Error != nil {
			faults = append(faults, fault(e, result.Error, path.Child("variables").Index(i).Child("expression")))
		}
	}
	for i, v := range p.Spec.Validations {
		at := path.Child("validations").Index(i)
		faults = append(faults, check(compiler, &Expression{Text: v.Expression, Returns: Bool}, vars, at.Child("expression"))...)
		if v.MessageExpression != "" {
			faults = append(faults, check(compiler, &Expression{Text: v.MessageExpression, Returns: String},
				cel.OptionalVariableDeclarations{HasParams: params}, at.Child("messageExpression"))...)
		}
	}
	return faults
}

func check(c cel.Compiler, e cel.ExpressionAccessor, vars cel.OptionalVariableDeclarations, path *field.Path) field.ErrorList {
	if result := c.CompileCELExpression(e, vars, environment.NewExpressions); result.Error != nil {
		return field.ErrorList{fault(e, result.Error, path)}
	}
	return nil
}

func fault(e cel.ExpressionAccessor, err *apiservercel.Error, path *field.Path) *field.Error {
	switch err.Type {
	case apiservercel.ErrorTypeRequired:
		return field.Required(path, err.Detail)
	case apiservercel.ErrorTypeInvalid:
		return field.Invalid(path, e.GetExpression(), err.Detail)
	}
	return field.InternalError(path, err)
}
