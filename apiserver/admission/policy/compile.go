package policy

import (
	"context"
	"fmt"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"clipper/api"
	"clipper/apiserver/admission/extension"
)

func validatingPolicies(c extension.Client) *bound[*validating.Policy, *validating.PolicyBinding, validating.PolicyEvaluator] {
	return &bound[*validating.Policy, *validating.PolicyBinding, validating.PolicyEvaluator]{
		client: c, objects: extension.NewObjects(c),
		policies: api.ValidatingAdmissionPolicies.View(c), bindings: api.ValidatingAdmissionPolicyBindings.View(c),
		policyOf: func(b *validating.PolicyBinding) string { return b.Spec.PolicyName },
		params:   func(p *validating.Policy) *admissionregistrationv1.ParamKind { return p.Spec.ParamKind },
		compile:  func(p *validating.Policy) validating.PolicyEvaluator { return newLazy(p) },
	}
}

func mutatingPolicies(c extension.Client) *bound[*mutating.Policy, *mutating.PolicyBinding, mutating.PolicyEvaluator] {
	return &bound[*mutating.Policy, *mutating.PolicyBinding, mutating.PolicyEvaluator]{
		client: c, objects: extension.NewObjects(c),
		policies: api.MutatingAdmissionPolicies.View(c), bindings: api.MutatingAdmissionPolicyBindings.View(c),
		policyOf: func(b *mutating.PolicyBinding) string { return b.Spec.PolicyName },
		params:   func(p *mutating.Policy) *admissionregistrationv1.ParamKind { return p.Spec.ParamKind },
		compile:  compileMutating,
	}
}

// A compiler compiles the expressions of one policy. Faults of single expressions show when they are
// evaluated; the store may hold expressions that today's rules for new ones refuse.
type compiler struct {
	*cel.CompositedCompiler
	vars    cel.OptionalVariableDeclarations
	policy  string
	failure *admissionregistrationv1.FailurePolicyType
}

const stored = environment.StoredExpressions

func newCompiler(policy string, params *admissionregistrationv1.ParamKind, failure *admissionregistrationv1.FailurePolicyType, variables []admissionregistrationv1.Variable) (*compiler, error) {
	inner, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	c := &compiler{inner, cel.OptionalVariableDeclarations{HasParams: params != nil, HasAuthorizer: true}, policy, failure}
	for _, v := range variables {
		c.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression}, c.vars, stored)
	}
	return c, nil
}

// matcher returns what evaluates match conditions, nil if there are none.
func (c *compiler) matcher(conditions []admissionregistrationv1.MatchCondition) matchconditions.Matcher {
	if len(conditions) == 0 {
		return nil
	}
	list := make([]cel.ExpressionAccessor, len(conditions))
	for i := range conditions {
		list[i] = (*matchconditions.MatchCondition)(&conditions[i])
	}
	return matchconditions.NewMatcher(c.CompileCondition(list, c.vars, stored), c.failure, "policy", "validate", c.policy)
}

// lazy compiles a policy when it first applies to a write: compiling takes milliseconds, and a cluster may
// have many policies for things that nobody writes just now.
type lazy struct {
	validator func() validating.Validator
}

func newLazy(p *validating.Policy) lazy {
	return lazy{sync.OnceValue(func() validating.Validator { return compileValidating(p) })}
}

// Validate implements validating.Validator.
func (l lazy) Validate(ctx context.Context, resource schema.GroupVersionResource, attrs *upstream.VersionedAttributes, params runtime.Object, ns *corev1.Namespace, budget int64, az authorizer.Authorizer) validating.ValidateResult {
	return l.validator().Validate(ctx, resource, attrs, params, ns, budget, az)
}

// CompileError implements validating.Validator.
func (l lazy) CompileError() error { return l.validator().CompileError() }

func compileValidating(p *validating.Policy) validating.PolicyEvaluator {
	c, err := newCompiler(p.Name, p.Spec.ParamKind, p.Spec.FailurePolicy, p.Spec.Variables)
	if err != nil {
		return validating.NewValidator(nil, nil, nil, nil, p.Spec.FailurePolicy, err)
	}
	rules := make([]cel.ExpressionAccessor, len(p.Spec.Validations))
	messages := make([]cel.ExpressionAccessor, len(p.Spec.Validations)) // nil where the message is a fixed one
	for i, v := range p.Spec.Validations {
		rules[i] = &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason}
		if v.MessageExpression != "" {
			messages[i] = &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}
		}
	}
	notes := make([]cel.ExpressionAccessor, len(p.Spec.AuditAnnotations))
	for i, a := range p.Spec.AuditAnnotations {
		notes[i] = &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression}
	}
	messageVars := cel.OptionalVariableDeclarations{HasParams: c.vars.HasParams}
	return validating.NewValidator(c.CompileCondition(rules, c.vars, stored), c.matcher(p.Spec.MatchConditions),
		c.CompileCondition(notes, c.vars, stored), c.CompileCondition(messages, messageVars, stored), p.Spec.FailurePolicy, nil)
}

func compileMutating(p *mutating.Policy) mutating.PolicyEvaluator {
	c, err := newCompiler(p.Name, p.Spec.ParamKind, p.Spec.FailurePolicy, p.Spec.Variables)
	if err != nil {
		return mutating.PolicyEvaluator{Error: &apiservercel.Error{
			Type: apiservercel.ErrorTypeInternal, Detail: fmt.Sprintf("failed to initialize CEL compiler: %v", err)}}
	}
	out := mutating.PolicyEvaluator{Matcher: c.matcher(p.Spec.MatchConditions), CompositedCompiler: c.CompositedCompiler}
	vars := c.vars
	vars.HasPatchTypes = true
	for _, m := range p.Spec.Mutations {
		switch {
		case m.PatchType == admissionregistrationv1.PatchTypeJSONPatch && m.JSONPatch != nil:
			e := c.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, vars, stored)
			out.Mutators = append(out.Mutators, patch.NewJSONPatcher(e))
		case m.PatchType == admissionregistrationv1.PatchTypeApplyConfiguration && m.ApplyConfiguration != nil:
			e := c.CompileMutatingEvaluator(&patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, vars, stored)
			out.Mutators = append(out.Mutators, patch.NewApplyConfigurationPatcher(e))
		}
	}
	return out
}
