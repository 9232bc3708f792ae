// Package claimaccess says who may write what of resource claims: administrators' access to devices only namespaces
// have that are marked for it, allocations only those who may bind claims, and the state of a driver's devices only
// those who may speak for that driver. It is what upstream's strategies of claims ask.
package claimaccess

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/apiserver/admission"
)

// A Plugin finds what nobody may write of claims, or of templates.
type Plugin struct {
	of         api.Resource
	authz      authorizer.Authorizer
	namespaces api.TypedView[*corev1.Namespace]
}

// New returns the plug-in for one resource, claims or their templates, that c serves.
func New(c api.Client, of api.Resource, az authorizer.Authorizer) *Plugin {
	return &Plugin{of: of, authz: az, namespaces: api.Namespaces.View(c)}
}

// Examines implements admission.Examiner.
func (p *Plugin) Examines() api.Resource { return p.of }

// Faults implements admission.Examiner.
func (p *Plugin) Faults(ctx context.Context, a *admission.Attributes) field.ErrorList {
	switch o := a.Object.(type) {
	case *resourcev1.ResourceClaimTemplate:
		if a.Operation == admission.Create {
			return p.adminAccess(a.Namespace, requested(o.Spec.Spec.Devices.Requests))
		}
	case *resourcev1.ResourceClaim:
		switch {
		case a.Operation == admission.Create:
			return p.adminAccess(a.Namespace, requested(o.Spec.Devices.Requests))
		case a.Operation == admission.Update && a.Subresource == "status":
			return p.status(ctx, a, &o.Status, &a.Old.(*resourcev1.ResourceClaim).Status)
		}
	}
	return nil
}

// requested is where administrators' access is asked for; nil: nowhere.
func requested(requests []resourcev1.DeviceRequest) *field.Path {
	for i := range requests {
		if exactly := requests[i].Exactly; exactly != nil && exactly.AdminAccess != nil && *exactly.AdminAccess {
			return field.NewPath("spec", "devices", "requests").Index(i).Child("adminAccess")
		}
	}
	return nil
}

// granted is where administrators' access is given; nil: nowhere.
func granted(s *resourcev1.ResourceClaimStatus) *field.Path {
	if s.Allocation == nil {
		return nil
	}
	for i, r := range s.Allocation.Devices.Results {
		if r.AdminAccess != nil && *r.AdminAccess {
			return field.NewPath("status", "allocation", "devices", "results").Index(i).Child("adminAccess")
		}
	}
	return nil
}

func (p *Plugin) adminAccess(namespace string, at *field.Path) field.ErrorList {
	if at == nil {
		return nil
	}
	ns, ok := p.namespaces.Get("", namespace)
	if !ok {
		err := apierrors.NewNotFound(api.Namespaces.GroupResource(), namespace)
		return field.ErrorList{field.InternalError(at, fmt.Errorf("could not retrieve namespace to verify admin access: %w", err))}
	}
	if ns.Labels[resourcev1.DRAAdminNamespaceLabelKey] != "true" {
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf("admin access to devices requires the `%s: true` label on the containing namespace", resourcev1.DRAAdminNamespaceLabelKey))}
	}
	return nil
}

// status looks at what a change of a claim's state is about.
func (p *Plugin) status(ctx context.Context, a *admission.Attributes, s, old *resourcev1.ResourceClaimStatus) field.ErrorList {
	var faults field.ErrorList
	if granted(old) == nil {
		faults = p.adminAccess(a.Namespace, granted(s))
	}
	if a.User == nil {
		return faults
	}
	if !equality.Semantic.DeepEqual(s.Allocation, old.Allocation) || !equality.Semantic.DeepEqual(s.ReservedFor, old.ReservedFor) {
		faults = append(faults, p.mayBind(ctx, a)...)
	}
	if s.Allocation != nil { // else there are no devices to have a state
		faults = append(faults, p.mayReport(ctx, a, s, old)...)
	}
	return faults
}

// verb is that of the request.
func verb(a *admission.Attributes) string {
	if _, patch := a.Options.(*metav1.PatchOptions); patch {
		return "patch"
	}
	return "update"
}
