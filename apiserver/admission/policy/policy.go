// Package policy enforces ValidatingAdmissionPolicies: rules in CEL that bindings put to work. Compiling
// and evaluating expressions is upstream's published library; which policy applies to what, and what
// follows from its verdict, is decided here.
package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/webhook"
)

// A Plugin is the admission plug-in ValidatingAdmissionPolicy.
type Plugin struct {
	client     api.Client
	authz      authorizer.Authorizer
	namespaces api.TypedView[*corev1.Namespace]
	served     func() []api.Resource // where parameters are looked for
	compiled   compiled
}

// New returns the plug-in over the policies that c sees.
func New(c api.Client, az authorizer.Authorizer, served func() []api.Resource) *Plugin {
	return &Plugin{client: c, authz: az, namespaces: api.Namespaces.View(c), served: served,
		compiled: compiled{policies: api.ValidatingAdmissionPolicies.View(c), bindings: api.ValidatingAdmissionPolicyBindings.View(c)}}
}

// A denial is one policy's no.
type denial struct {
	message string
	reason  metav1.StatusReason
}

// Validate asks every policy that a binding applies to the write.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	rulesets := p.compiled.all()
	if len(rulesets) == 0 {
		return nil
	}
	attrs := webhook.Attributes(a)
	if rules.IsExemptAdmissionConfigurationResource(attrs) {
		return nil
	}
	for _, r := range rulesets {
		ok, err := p.matches(r.match, attrs)
		if err != nil {
			if d := r.broken("failed to configure policy: %w", err); d != nil {
				return d.refuse(a, r, nil)
			}
			continue
		}
		if !ok {
			continue
		}
		for _, b := range r.bindings {
			if err := p.bind(ctx, a, attrs, r, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// bind evaluates a policy for one binding.
func (p *Plugin) bind(ctx context.Context, a *admission.Attributes, attrs *upstream.VersionedAttributes, r *ruleset, b *binding) error {
	if b.match != nil {
		ok, err := p.matches(b.match, attrs)
		if err != nil {
			if d := r.broken("failed to configure binding: %w", err); d != nil {
				return d.refuse(a, r, b)
			}
			return nil
		}
		if !ok {
			return nil
		}
	}
	params, err := p.params(r.policy, b.binding.Spec.ParamRef, a.Namespace)
	if err != nil {
		if d := r.broken("failed to configure binding: %w", err); d != nil {
			return d.refuse(a, r, b)
		}
		return nil
	}
	var ns *corev1.Namespace
	if a.Resource != api.Namespaces.Resource && a.Namespace != "" {
		ns, _ = p.namespaces.Get("", a.Namespace)
	}
	for _, param := range params {
		for _, d := range r.program().evaluate(ctx, attrs, param, ns, p.authz) {
			if d.enforce(a, r, b) {
				return d.refuse(a, r, b)
			}
		}
	}
	return nil
}

// enforce does with a denial what the binding asks for: it warns, and says whether to deny.
func (d *denial) enforce(a *admission.Attributes, r *ruleset, b *binding) (deny bool) {
	for _, action := range b.binding.Spec.ValidationActions {
		switch action {
		case admissionregistrationv1.Deny:
			deny = true
		case admissionregistrationv1.Warn:
			a.Warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", r.policy.Name, b.binding.Name, d.message))
		}
	}
	return deny
}

// refuse is the answer to the client.
func (d *denial) refuse(a *admission.Attributes, r *ruleset, b *binding) error {
	message := fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", r.policy.Name, d.message)
	if b != nil {
		message = fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", r.policy.Name, b.binding.Name, d.message)
	}
	err := a.Forbidden(errors.New(message))
	err.ErrStatus.Reason = d.reason
	if d.reason == "" {
		err.ErrStatus.Reason = metav1.StatusReasonInvalid
	}
	err.ErrStatus.Code = code(err.ErrStatus.Reason)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return err
}

func code(r metav1.StatusReason) int32 {
	switch r {
	case metav1.StatusReasonForbidden:
		return http.StatusForbidden
	case metav1.StatusReasonUnauthorized:
		return http.StatusUnauthorized
	case metav1.StatusReasonRequestEntityTooLarge:
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusUnprocessableEntity
}

// params returns the parameters of a binding: what its paramRef chooses, or one nil for a policy without.
func (p *Plugin) params(policy *admissionregistrationv1.ValidatingAdmissionPolicy, ref *admissionregistrationv1.ParamRef, namespace string) ([]runtime.Object, error) {
	kind := policy.Spec.ParamKind
	if kind == nil {
		return []runtime.Object{nil}, nil
	}
	r, ok := p.resourceOf(kind)
	if !ok {
		return nil, fmt.Errorf("failed to find resource referenced by paramKind: '%s/%s'", kind.APIVersion, kind.Kind)
	}
	if ref == nil {
		return []runtime.Object{nil}, nil
	}
	in := ref.Namespace
	if r.Namespaced && in == "" {
		if in = namespace; in == "" {
			return nil, errors.New("cannot use namespaced paramRef in policy binding that matches cluster-scoped resources")
		}
	}
	if !r.Namespaced && in != "" {
		return nil, errors.New("paramRef.namespace must not be provided for a cluster-scoped `paramKind`")
	}
	found, err := p.chosen(r, ref, in)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 && (ref.ParameterNotFoundAction == nil || *ref.ParameterNotFoundAction == admissionregistrationv1.DenyAction) {
		return nil, errors.New("no params found for policy binding with `Deny` parameterNotFoundAction")
	}
	var out []runtime.Object
	for _, o := range found {
		param := o.DeepCopyObject() // expressions may ask for kind and version, which stored objects leave out
		param.GetObjectKind().SetGroupVersionKind(r.GVK())
		out = append(out, param)
	}
	return out, nil
}

func (p *Plugin) chosen(r api.Resource, ref *admissionregistrationv1.ParamRef, namespace string) (found []api.Object, err error) {
	view := p.client.View(r)
	if ref.Name != "" {
		if o, ok := view.Get(namespace, ref.Name); ok {
			found = append(found, o)
		}
		return found, nil
	}
	sel, err := metav1.LabelSelectorAsSelector(ref.Selector)
	if err != nil {
		return nil, err
	}
	for _, o := range view.List(namespace) {
		if sel.Matches(labelsOf(o)) {
			found = append(found, o)
		}
	}
	return found, nil
}

func (p *Plugin) resourceOf(kind *admissionregistrationv1.ParamKind) (api.Resource, bool) {
	for _, r := range p.served() {
		if r.Kind == kind.Kind && r.GVR().GroupVersion().String() == kind.APIVersion {
			return r, true
		}
	}
	return api.Resource{}, false
}
