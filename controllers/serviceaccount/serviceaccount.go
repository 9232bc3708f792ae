// Package serviceaccount sees to it that every namespace has the service account default, without which
// no pod can be created there.
package serviceaccount

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/queue"
)

const (
	accountName = "default"
	workers     = 4
)

// A Controller is the service-account controller.
type Controller struct {
	client api.Client
	queue  *queue.Queue[string] // of namespace names
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller {
	k := &Controller{client: c}
	k.queue = queue.New("serviceaccount", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: api.Namespaces.View(k.client).View, Handle: func(e api.Event) {
			if e.Type != api.Deleted {
				k.queue.Add(e.New.GetName())
			}
		}},
		queue.Source{View: api.ServiceAccounts.View(k.client).View, Handle: func(e api.Event) {
			if e.Type == api.Deleted && e.Old.GetName() == accountName {
				k.queue.Add(e.Old.GetNamespace())
			}
		}},
	)
}

func (k *Controller) sync(ctx context.Context, namespace string) error {
	ns, ok := api.Namespaces.View(k.client).Get("", namespace)
	if !ok || ns.Status.Phase == corev1.NamespaceTerminating || ns.DeletionTimestamp != nil {
		return nil
	}
	if _, ok := api.ServiceAccounts.View(k.client).Get(namespace, accountName); ok {
		return nil
	}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: accountName}}
	_, err := api.ServiceAccounts.Create(ctx, k.client, sa)
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("serviceaccount %s/%s: create: %w", namespace, accountName, err)
}
