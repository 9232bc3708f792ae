// Package paramaccess lets nobody read through an admission policy what he may not read himself: who
// writes a policy or a binding with parameters needs to be allowed to get them.
package paramaccess

import (
	"context"
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/apiserver/admission"
	"clipper/apiserver/admission/extension"
)

// A Plugin is what upstream's strategies of the four kinds ask.
type Plugin struct {
	authz      authorizer.Authorizer
	objects    extension.Objects
	validating api.TypedView[*admissionregistrationv1.ValidatingAdmissionPolicy]
	mutating   api.TypedView[*admissionregistrationv1.MutatingAdmissionPolicy]
}

// New returns the plug-in over what c serves.
func New(c extension.Client, az authorizer.Authorizer) *Plugin {
	return &Plugin{authz: az, objects: extension.NewObjects(c),
		validating: api.ValidatingAdmissionPolicies.View(c), mutating: api.MutatingAdmissionPolicies.View(c)}
}

// A subject is what a policy or a binding says about parameters.
type subject struct {
	kind   *admissionregistrationv1.ParamKind
	ref    *admissionregistrationv1.ParamRef
	policy string // of a binding
}

// subjectOf returns what o says, and whether it is a binding; nil if it is neither policy nor binding.
func subjectOf(o api.Object) (s *subject, binding bool) {
	switch o := o.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return &subject{kind: o.Spec.ParamKind}, false
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		return &subject{kind: o.Spec.ParamKind}, false
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return &subject{ref: o.Spec.ParamRef, policy: o.Spec.PolicyName}, true
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return &subject{ref: o.Spec.ParamRef, policy: o.Spec.PolicyName}, true
	}
	return nil, false
}

// Validate refuses policies and bindings of those who may not read the parameters.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Resource.Group != admissionregistrationv1.GroupName || a.Subresource != "" || a.User == nil ||
		a.Operation != admission.Create && a.Operation != admission.Update || slices.Contains(a.User.GetGroups(), user.SystemPrivilegedGroup) {
		return nil
	}
	s, binding := subjectOf(a.Object)
	if s == nil || s.kind == nil && s.ref == nil {
		return nil
	}
	if was, _ := subjectOf(a.Old); was != nil && equality.Semantic.DeepEqual(was, s) {
		return nil
	}
	at, err := field.NewPath("spec", "paramKind"), error(nil)
	if binding {
		at, err = field.NewPath("spec", "paramRef"), p.mayReadRef(ctx, a, s)
	} else {
		err = p.mayReadKind(ctx, a, s.kind)
	}
	if err == nil {
		return nil
	}
	return apierrors.NewInvalid(a.Resource.GVK().GroupKind(), a.Name, field.ErrorList{field.Forbidden(at, err.Error())})
}

// mayReadKind asks for the right to get every object of the kind.
func (p *Plugin) mayReadKind(ctx context.Context, a *admission.Attributes, kind *admissionregistrationv1.ParamKind) error {
	attrs := authorizer.AttributesRecord{User: a.User, Verb: "get", ResourceRequest: true, Name: "*", Namespace: "*", APIGroup: "*", APIVersion: "*", Resource: "*"}
	_, _ = p.narrow(&attrs, kind) // what cannot be found takes the right to everything
	return p.ask(ctx, attrs, fmt.Errorf(`user %v must have "get" permission on all objects of the referenced paramKind (kind=%s, apiVersion=%s)`, a.User, kind.Kind, kind.APIVersion))
}

// narrow asks no more than for the resource that kind is.
func (p *Plugin) narrow(attrs *authorizer.AttributesRecord, kind *admissionregistrationv1.ParamKind) (parsed, resolved bool) {
	gv, err := schema.ParseGroupVersion(kind.APIVersion)
	if err != nil {
		return false, false
	}
	attrs.APIGroup, attrs.APIVersion = gv.Group, gv.Version
	k := p.objects.Kind(gv.WithKind(kind.Kind))
	if k != nil {
		attrs.Resource = k.GVR.Resource
	}
	return true, k != nil
}

// mayReadRef asks for the right to get the object that a binding names, or to list what it selects.
func (p *Plugin) mayReadRef(ctx context.Context, a *admission.Attributes, s *subject) error {
	attrs := authorizer.AttributesRecord{User: a.User, Verb: "get", ResourceRequest: true, Name: s.ref.Name, Namespace: s.ref.Namespace, APIGroup: "*", APIVersion: "*", Resource: "*"}
	if s.ref.Name == "" {
		attrs.Verb = "list"
	}
	refusal := fmt.Errorf(`user %v does not have "%v" permission on the object referenced by paramRef`, a.User, attrs.Verb)
	const all = `to determine minimum required permissions and user %v does not have "%v" permission for all groups, versions and resources`
	kind, found := p.kindOf(a.Resource, s.policy)
	if !found {
		refusal = fmt.Errorf("unable to get policy %s "+all, s.policy, a.User, attrs.Verb)
	}
	if kind != nil {
		switch parsed, resolved := p.narrow(&attrs, kind); {
		case !parsed:
			refusal = fmt.Errorf("unable to parse paramKind %v "+all, kind, a.User, attrs.Verb)
		case !resolved:
			refusal = fmt.Errorf("unable to resolve paramKind %v "+all, kind, a.User, attrs.Verb)
		}
	}
	return p.ask(ctx, attrs, refusal)
}

func (p *Plugin) kindOf(binding api.Resource, policy string) (*admissionregistrationv1.ParamKind, bool) {
	if binding.GroupResource() == api.ValidatingAdmissionPolicyBindings.GroupResource() {
		if found, ok := p.validating.Get("", policy); ok {
			return found.Spec.ParamKind, true
		}
		return nil, false
	}
	if found, ok := p.mutating.Get("", policy); ok {
		return found.Spec.ParamKind, true
	}
	return nil, false
}

func (p *Plugin) ask(ctx context.Context, attrs authorizer.AttributesRecord, refusal error) error {
	decision, _, err := p.authz.Authorize(ctx, attrs)
	if err != nil || decision == authorizer.DecisionAllow {
		return err
	}
	return refusal
}
