// Package endpoints keeps the Endpoints object of every service that has a selector: the older form of
// EndpointSlices, which clients still read.
package endpoints

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/endpointslice"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const workers = 5

// A Controller keeps the Endpoints of services.
type Controller struct {
	client api.Client
	queue  *queue.Queue[owner.Key]
}

// New returns a controller.
func New(c api.Client) *Controller {
	e := &Controller{client: c}
	e.queue = queue.New("endpoint", workers, e.sync)
	return e
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	add := owner.EnqueueObject(c.queue.Add)
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Services.Resource), Handle: add},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: func(e api.Event) { endpointslice.ServicesOf(c.client, e, c.queue.Add) }},
		queue.Source{View: c.client.View(api.Endpoints.Resource), Handle: func(e api.Event) {
			if e.Object().GetLabels()[managedByLabel] == managedBy || e.Type == api.Deleted {
				add(e)
			}
		}},
	)
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	have, found := api.Endpoints.View(c.client).Get(k.Namespace, k.Name)
	svc, ok := api.Services.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		// Endpoints have no owner reference: they go with the service of their name.
		if !found {
			return nil
		}
		err := api.Endpoints.Delete(ctx, c.client, k.Namespace, k.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete endpoints %s: %w", k, err)
		}
		return nil
	}
	if len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	want := plan(svc, endpointslice.Selected(c.client, svc), have)
	if want == nil {
		return nil
	}
	var err error
	if found {
		_, err = api.Endpoints.Update(ctx, c.client, want)
	} else {
		_, err = api.Endpoints.Create(ctx, c.client, want)
	}
	if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return fmt.Errorf("write endpoints %s: %w", k, err)
	}
	return nil
}
