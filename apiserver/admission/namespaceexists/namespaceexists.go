// Package namespaceexists is about writes to namespaces that are not there: one plug-in refuses them, the other makes
// the namespace.
package namespaceexists

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

// Exists is the admission plug-in NamespaceExists.
type Exists struct {
	namespaces api.TypedView[*corev1.Namespace]
}

// New returns the plug-in over the namespaces that c sees.
func New(c api.Client) *Exists { return &Exists{api.Namespaces.View(c)} }

// Validate refuses writes and deletions in a namespace that is not there.
func (p *Exists) Validate(_ context.Context, a *admission.Attributes) error {
	if !inside(a) || a.Operation == admission.Connect {
		return nil
	}
	if _, ok := p.namespaces.Get("", a.Namespace); !ok {
		return apierrors.NewNotFound(api.Namespaces.GroupResource(), a.Namespace)
	}
	return nil
}

// Provision is the admission plug-in NamespaceAutoProvision.
type Provision struct {
	client     api.Client
	namespaces api.TypedView[*corev1.Namespace]
}

// NewProvision returns the plug-in that makes namespaces through c.
func NewProvision(c api.Client) *Provision { return &Provision{c, api.Namespaces.View(c)} }

// Admit makes the namespace in which something is created.
func (p *Provision) Admit(ctx context.Context, a *admission.Attributes) error {
	if !inside(a) || a.Operation != admission.Create || a.DryRun {
		return nil
	}
	if _, ok := p.namespaces.Get("", a.Namespace); ok {
		return nil
	}
	_, err := api.Namespaces.Create(ctx, p.client, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: a.Namespace}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return a.Forbidden(err)
	}
	return nil
}

// inside says whether the write is about something in a namespace.
func inside(a *admission.Attributes) bool {
	return a.Namespace != "" && a.Resource != api.Namespaces.Resource
}
