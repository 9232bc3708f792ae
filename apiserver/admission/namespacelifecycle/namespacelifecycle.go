// Package namespacelifecycle keeps objects out of namespaces that do not exist or are being deleted, and
// the namespaces that a cluster cannot do without from being deleted.
package namespacelifecycle

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

// A Plugin is a Mutator, so that it runs before everything else, and a Validator, so that a namespace
// deleted while a create was on its way is noticed right before the commit.
type Plugin struct {
	namespaces api.TypedView[*corev1.Namespace]
}

// New returns the plug-in over the namespaces that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.Namespaces.View(c)} }

// immortal are the namespaces that may not be deleted.
var immortal = map[string]bool{metav1.NamespaceDefault: true, metav1.NamespaceSystem: true, metav1.NamespacePublic: true}

// Admit refuses what does not fit the namespace's life.
func (p *Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Resource == api.Namespaces.Resource {
		if a.Operation == admission.Delete && immortal[a.Name] {
			return apierrors.NewForbidden(a.Resource.GroupResource(), a.Name, errors.New("this namespace may not be deleted"))
		}
		return nil
	}
	// Reviews of access must be possible in any namespace; nothing is stored for them.
	if !a.Resource.Namespaced || a.Namespace == "" || a.Operation == admission.Delete || a.Operation == admission.Connect ||
		a.Resource.Group == "authorization.k8s.io" {
		return nil
	}
	ns, ok := p.namespaces.Get("", a.Namespace)
	if !ok {
		return apierrors.NewNotFound(api.Namespaces.GroupResource(), a.Namespace)
	}
	if a.Operation != admission.Create || a.Subresource != "" || !terminating(ns) {
		return nil
	}
	err := a.Forbiddenf("unable to create new content in namespace %s because it is being terminated", a.Namespace)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type:    corev1.NamespaceTerminatingCause,
		Message: fmt.Sprintf("namespace %s is being terminated", a.Namespace),
		Field:   "metadata.namespace",
	})
	return err
}

// Validate asks again, inside the commit loop.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create {
		return nil
	}
	return p.Admit(ctx, a)
}

func terminating(ns *corev1.Namespace) bool {
	return ns.Status.Phase == corev1.NamespaceTerminating || ns.DeletionTimestamp != nil
}
