package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/common/types"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"clipper/apiserver/admission/expression"
)

// A program is a policy whose expressions are compiled. Faults of single expressions show when they are
// evaluated; err is one of the whole.
type program struct {
	policy      *admissionregistrationv1.ValidatingAdmissionPolicy
	matcher     matchconditions.Matcher // nil: no conditions
	validations cel.ConditionEvaluator
	messages    cel.ConditionEvaluator
	err         error
}

func compile(p *admissionregistrationv1.ValidatingAdmissionPolicy) *program {
	set, err := expression.Env()
	if err != nil {
		return &program{policy: p, err: err}
	}
	compiler, err := cel.NewCompositedCompiler(set)
	if err != nil {
		return &program{policy: p, err: err}
	}
	vars := cel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil, HasAuthorizer: true}
	messageVars := cel.OptionalVariableDeclarations{HasParams: p.Spec.ParamKind != nil}
	compiler.CompileAndStoreVariables(variables(p), vars, environment.StoredExpressions)
	out := &program{policy: p,
		validations: compiler.CompileCondition(validations(p), vars, environment.StoredExpressions),
		messages:    compiler.CompileCondition(messages(p), messageVars, environment.StoredExpressions)}
	if len(p.Spec.MatchConditions) > 0 {
		out.matcher = matchconditions.NewMatcher(compiler.CompileCondition(conditions(p), vars, environment.StoredExpressions),
			p.Spec.FailurePolicy, "policy", "validate", p.Name)
	}
	return out
}

func variables(p *admissionregistrationv1.ValidatingAdmissionPolicy) (out []cel.NamedExpressionAccessor) {
	for _, v := range p.Spec.Variables {
		out = append(out, &expression.Expression{Name: v.Name, Text: v.Expression, Returns: expression.Any})
	}
	return out
}

func conditions(p *admissionregistrationv1.ValidatingAdmissionPolicy) (out []cel.ExpressionAccessor) {
	for i := range p.Spec.MatchConditions {
		out = append(out, (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i]))
	}
	return out
}

func validations(p *admissionregistrationv1.ValidatingAdmissionPolicy) (out []cel.ExpressionAccessor) {
	for _, v := range p.Spec.Validations {
		out = append(out, &expression.Expression{Text: v.Expression, Returns: expression.Bool})
	}
	return out
}

// messages has an entry for every validation, nil where the message is a fixed one.
func messages(p *admissionregistrationv1.ValidatingAdmissionPolicy) []cel.ExpressionAccessor {
	out := make([]cel.ExpressionAccessor, len(p.Spec.Validations))
	for i, v := range p.Spec.Validations {
		if v.MessageExpression != "" {
			out[i] = &expression.Expression{Text: v.MessageExpression, Returns: expression.String}
		}
	}
	return out
}

// failsOpen says whether a policy that cannot be evaluated lets the write go on.
func (p *program) failsOpen() bool {
	f := p.policy.Spec.FailurePolicy
	return f != nil && *f == admissionregistrationv1.Ignore
}

func (p *program) fault(err error) []denial {
	if p.failsOpen() {
		return nil
	}
	return []denial{{message: err.Error()}}
}

// evaluate returns what the policy has against a write, nothing if all is well.
func (p *program) evaluate(ctx context.Context, attrs *upstream.VersionedAttributes, param runtime.Object, ns *corev1.Namespace, az authorizer.Authorizer) []denial {
	if p.err != nil {
		return p.fault(p.err)
	}
	if p.matcher != nil {
		switch m := p.matcher.Match(ctx, attrs, param, az); {
		case m.Error != nil:
			return p.fault(m.Error)
		case !m.Matches:
			return nil
		}
	}
	request := cel.CreateAdmissionRequest(attrs.Attributes, metav1.GroupVersionResource(attrs.GetResource()), metav1.GroupVersionKind(attrs.VersionedKind))
	namespace := cel.CreateNamespaceObject(ns)
	results, left, err := p.validations.ForInput(ctx, attrs, request, cel.OptionalVariableBindings{VersionedParams: param, Authorizer: az}, namespace, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return p.fault(err)
	}
	texts, _, textErr := p.messages.ForInput(ctx, attrs, request, cel.OptionalVariableBindings{VersionedParams: param}, namespace, left)
	var out []denial
	for i := range results {
		switch {
		case results[i].Error != nil:
			out = append(out, p.fault(results[i].Error)...)
		case errors.Is(textErr, apiservercel.ErrInternal), errors.Is(textErr, apiservercel.ErrOutOfBudget):
			out = append(out, p.fault(fmt.Errorf("failed messageExpression: %w", textErr))...)
		case results[i].EvalResult != types.True:
			var text *cel.EvaluationResult
			if i < len(texts) {
				text = &texts[i]
			}
			out = append(out, refusal(&p.policy.Spec.Validations[i], text))
		}
	}
	return out
}

// refusal words a validation that does not hold: by its message expression, its message, or itself.
func refusal(v *admissionregistrationv1.Validation, text *cel.EvaluationResult) denial {
	d := denial{reason: metav1.StatusReasonInvalid}
	if v.Reason != nil {
		d.reason = *v.Reason
	}
	if text != nil && text.Error == nil && text.EvalResult != nil {
		if s, ok := text.EvalResult.Value().(string); ok {
			s = strings.TrimSpace(s)
			if len(s) <= celconfig.MaxEvaluatedMessageExpressionSizeBytes && !strings.Contains(s, "\n") {
				d.message = s
			}
		}
	}
	if d.message == "" {
		d.message = strings.TrimSpace(v.Message)
	}
	if d.message == "" {
		d.message = "failed expression: " + strings.TrimSpace(v.Expression)
	}
	return d
}
