// Package endpointslice lists the pods behind every service that has a selector in EndpointSlices. plan
// compares what there is with what there should be; Controller writes the difference.
package endpointslice

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 5

// A Controller keeps the slices of services.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	s := &Controller{client: c, events: events}
	s.queue = queue.New("endpoint_slice", workers, s.sync)
	return s
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Services.Resource), Handle: owner.EnqueueObject(c.queue.Add)},
		queue.Source{View: c.client.View(api.Pods.Resource), Handle: func(e api.Event) { ServicesOf(c.client, e, c.queue.Add) }},
		queue.Source{View: c.client.View(api.EndpointSlices.Resource), Handle: c.sliceChanged},
		queue.Source{View: c.client.View(api.Nodes.Resource), Handle: c.nodeChanged},
	)
}

// ServicesOf adds the services that a pod's event concerns. Changes that no endpoint shows are skipped.
func ServicesOf(c api.Client, e api.Event, add func(owner.Key)) {
	before, _ := e.Old.(*corev1.Pod)
	after, _ := e.New.(*corev1.Pod)
	if before != nil && after != nil && sameEndpoint(before, after) {
		return
	}
	for _, svc := range api.Services.View(c).List(e.Object().GetNamespace()) {
		if len(svc.Spec.Selector) == 0 {
			continue
		}
		sel := labels.SelectorFromSet(svc.Spec.Selector)
		if before != nil && sel.Matches(labels.Set(before.Labels)) || after != nil && sel.Matches(labels.Set(after.Labels)) {
			add(owner.KeyOf(svc))
		}
	}
}

func sameEndpoint(a, b *corev1.Pod) bool {
	return a.UID == b.UID && pods.Ready(a) == pods.Ready(b) && pods.Finished(a) == pods.Finished(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) && a.Spec.NodeName == b.Spec.NodeName &&
		a.Status.PodIP == b.Status.PodIP && apiequality.Semantic.DeepEqual(a.Status.PodIPs, b.Status.PodIPs) &&
		apiequality.Semantic.DeepEqual(a.Labels, b.Labels)
}

// sliceChanged brings back slices that somebody else changed or deleted; our own writes find nothing to do.
func (c *Controller) sliceChanged(e api.Event) {
	for _, o := range []api.Object{e.Old, e.New} {
		if o != nil && o.GetLabels()[discoveryv1.LabelManagedBy] == ManagedBy {
			c.queue.Add(owner.Key{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]})
		}
	}
}

// nodeChanged renews the zones in the endpoints.
func (c *Controller) nodeChanged(e api.Event) {
	if e.Type != api.Modified || e.Old.GetLabels()[corev1.LabelTopologyZone] == e.New.GetLabels()[corev1.LabelTopologyZone] {
		return
	}
	for _, svc := range api.Services.View(c.client).List("") {
		c.queue.Add(owner.KeyOf(svc))
	}
}

func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	svc, ok := api.Services.View(c.client).Get(k.Namespace, k.Name)
	if !ok || len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil // the garbage collector takes the slices of a service that is gone
	}
	have := c.slices(svc)
	p := plan(svc, Selected(c.client, svc), c.node, have)
	err := c.carryOut(ctx, p)
	looked(err)
	if err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		c.events.Event(svc, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Error updating Endpoint Slices for Service %s/%s: %v", svc.Namespace, svc.Name, err)
		return fmt.Errorf("endpoint slices of service %s: %w", k, err)
	}
	observe(svc, have, p)
	return nil
}

// Selected returns the pods that svc selects.
func Selected(c api.Client, svc *corev1.Service) []*corev1.Pod {
	sel := labels.SelectorFromSet(svc.Spec.Selector)
	return pods.Filter(api.Pods.View(c).List(svc.Namespace), func(p *corev1.Pod) bool { return sel.Matches(labels.Set(p.Labels)) })
}

func (c *Controller) node(name string) *corev1.Node {
	n, _ := api.Nodes.View(c.client).Get("", name)
	return n
}

func (c *Controller) slices(svc *corev1.Service) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
	for _, s := range api.EndpointSlices.View(c.client).ByIndex(api.ByService, svc.Namespace+"/"+svc.Name) {
		if s.Labels[discoveryv1.LabelManagedBy] == ManagedBy {
			out = append(out, s)
		}
	}
	return out
}

func (c *Controller) carryOut(ctx context.Context, p Plan) error {
	var errs []error
	for _, s := range p.Create {
		_, err := api.EndpointSlices.Create(ctx, c.client, s)
		errs = append(errs, counted("create", err))
	}
	for _, s := range p.Update {
		_, err := api.EndpointSlices.Update(ctx, c.client, s)
		errs = append(errs, counted("update", err))
	}
	for _, s := range p.Delete {
		err := api.EndpointSlices.DeleteThis(ctx, c.client, s, metav1.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, counted("delete", err))
		}
	}
	return errors.Join(errs...)
}
