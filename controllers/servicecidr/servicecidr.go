// Package servicecidr shows the addresses of services as objects: an IPAddress for every cluster IP (Addresses), and a
// Ready condition on every ServiceCIDR, which it keeps until no service needs it any more (Controller). Who holds what
// is decided elsewhere, by package apiserver/allocate: the IPAddresses follow the services, never the other way.
package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const workers = 2

// A Controller does the work of upstream's service-cidr controller.
type Controller struct {
	client   api.Client
	ranges   api.TypedView[*networkingv1.ServiceCIDR]
	services api.TypedView[*corev1.Service]
	queue    *queue.Queue[owner.Key]
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller {
	k := &Controller{client: c, ranges: api.ServiceCIDRs.View(c), services: api.Services.View(c)}
	k.queue = queue.New("servicecidr", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.ranges.View, Handle: func(api.Event) { k.lookAtRanges() }},
		queue.Source{View: k.services.View, Handle: func(e api.Event) {
			if e.Old != nil {
				k.lookAtRanges()
			}
		}},
	)
}

// lookAtRanges has the ServiceCIDRs looked at that are not as they should stay: there are few.
func (k *Controller) lookAtRanges() {
	for _, c := range k.ranges.List("") {
		if c.DeletionTimestamp != nil || !slices.Contains(c.Finalizers, Finalizer) || !meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
			k.queue.Add(owner.KeyOf(c))
		}
	}
}

func (k *Controller) sync(ctx context.Context, at owner.Key) error {
	c, ok := k.ranges.Get("", at.Name)
	if !ok {
		return nil
	}
	p := planRange(c, k.ranges.List(""), k.used(c), time.Now())
	if p.again > 0 {
		k.queue.AddAfter(at, p.again)
	}
	if p.finalizer != nil {
		if err := k.setFinalizer(ctx, at.Name, *p.finalizer); err != nil {
			return fmt.Errorf("ServiceCIDR %s: set finalizer %s to %v: %w", at.Name, Finalizer, *p.finalizer, err)
		}
	}
	if p.ready == nil {
		return nil
	}
	_, err := api.ServiceCIDRs.Mutate(ctx, k.client, "", at.Name, "status", func(c *networkingv1.ServiceCIDR) (bool, error) {
		return meta.SetStatusCondition(&c.Status.Conditions, *p.ready), nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("ServiceCIDR %s: set condition %s to %s: %w", at.Name, p.ready.Type, p.ready.Status, err)
	}
	return nil
}

// used are the addresses that services hold; they only matter for a range that is to go.
func (k *Controller) used(c *networkingv1.ServiceCIDR) []netip.Addr {
	if c.DeletionTimestamp == nil {
		return nil
	}
	var out []netip.Addr
	for _, svc := range k.services.List("") {
		out = append(out, addressesOf(svc)...)
	}
	return out
}

func (k *Controller) setFinalizer(ctx context.Context, name string, on bool) error {
	_, err := api.ServiceCIDRs.Mutate(ctx, k.client, "", name, "", func(c *networkingv1.ServiceCIDR) (bool, error) {
		before := c.Finalizers
		c.Finalizers = slices.DeleteFunc(slices.Clone(before), func(f string) bool { return f == Finalizer })
		if on {
			c.Finalizers = append(c.Finalizers, Finalizer)
		}
		return !slices.Equal(c.Finalizers, before), nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
