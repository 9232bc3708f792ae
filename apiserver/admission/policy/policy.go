// Package policy enforces admission policies: rules in CEL that bindings put to work. Mutating ones change
// what is written, validating ones refuse, warn or leave a note in the audit log. Matching, compiling and
// evaluating is upstream's published library; here is what it works on: which policies are bound, compiled
// once for each version of them, and the parameters that bindings choose.
package policy

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/warning"

	"clipper/apiserver/admission"
	"clipper/apiserver/admission/extension"
)

// Validating is the plug-in ValidatingAdmissionPolicy.
type Validating struct {
	policies   *bound[*validating.Policy, *validating.PolicyBinding, validating.PolicyEvaluator]
	dispatcher generic.Dispatcher[validating.PolicyHook]
	objects    extension.Objects
}

// NewValidating returns the plug-in over the policies that c sees.
func NewValidating(c extension.Client, az authorizer.Authorizer) *Validating {
	return &Validating{
		policies:   validatingPolicies(c),
		dispatcher: validating.NewDispatcher(az, generic.NewPolicyMatcher(matcher(c))),
		objects:    extension.NewObjects(c),
	}
}

// Validate asks every policy that a binding applies to the write.
func (p *Validating) Validate(ctx context.Context, a *admission.Attributes) error {
	hooks := p.policies.hooks()
	if len(hooks) == 0 || exempt(a) {
		return nil
	}
	return p.dispatcher.Dispatch(warned(ctx, a), a.Record(), p.objects, hooks)
}

// Mutating is the plug-in MutatingAdmissionPolicy.
type Mutating struct {
	policies   *bound[*mutating.Policy, *mutating.PolicyBinding, mutating.PolicyEvaluator]
	dispatcher generic.Dispatcher[mutating.PolicyHook]
	objects    extension.Objects
}

// NewMutating returns the plug-in over the policies that c sees.
func NewMutating(c extension.Client, az authorizer.Authorizer) *Mutating {
	objects := extension.NewObjects(c)
	return &Mutating{
		policies:   mutatingPolicies(c),
		dispatcher: mutating.NewDispatcher(az, matcher(c), schemas{objects}),
		objects:    objects,
	}
}

// Admit lets every policy that a binding applies change the object. A delete has none.
func (p *Mutating) Admit(ctx context.Context, a *admission.Attributes) error {
	hooks := p.policies.hooks()
	if len(hooks) == 0 || a.Operation == admission.Delete || exempt(a) {
		return nil
	}
	return p.dispatcher.Dispatch(warned(ctx, a), a.Record(), p.objects, hooks)
}

func matcher(c extension.Client) *matching.Matcher {
	return matching.NewMatcher(extension.Namespaces(c))
}

// exempt are the policies themselves, which could else lock everybody out, and reviews, without which
// nobody could find out who may do what.
func exempt(a *admission.Attributes) bool { return exemptResources[a.Resource.GroupResource()] }

var exemptResources = map[schema.GroupResource]bool{
	{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies"}:       true,
	{Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicybindings"}: true,
	{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicies"}:         true,
	{Group: "admissionregistration.k8s.io", Resource: "mutatingadmissionpolicybindings"}:   true,
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}:                       true,
	{Group: "authentication.k8s.io", Resource: "tokenreviews"}:                             true,
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}:                 true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}:                  true,
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}:                   true,
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}:                      true,
}

// warned makes the library's warnings the write's.
func warned(ctx context.Context, a *admission.Attributes) context.Context {
	return warning.WithWarningRecorder(ctx, recorder{a})
}

type recorder struct{ a *admission.Attributes }

func (r recorder) AddWarning(_, text string) { r.a.Warn(text) }
