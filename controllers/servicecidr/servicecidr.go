// Package servicecidr shows the addresses of services as objects: an IPAddress for every cluster IP, and a
// Ready condition on every ServiceCIDR, which it keeps until no service needs it any more. Who holds what is
// decided elsewhere, by package apiserver/allocate: the IPAddresses follow the services, never the other way.
package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/allocate"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const workers = 2

// A key names what needs work: a ServiceCIDR, an IPAddress, or a service.
type key struct {
	of string // the resource
	owner.Key
}

// A Controller does the work of upstream's service-cidr controller and of its repair loop for addresses.
type Controller struct {
	client    api.Client
	ranges    api.TypedView[*networkingv1.ServiceCIDR]
	addresses api.TypedView[*networkingv1.IPAddress]
	services  api.TypedView[*corev1.Service]
	queue     *queue.Queue[key]
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller {
	k := &Controller{client: c, ranges: api.ServiceCIDRs.View(c), addresses: api.IPAddresses.View(c), services: api.Services.View(c)}
	k.queue = queue.New("servicecidr", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.ranges.View, Handle: func(api.Event) { k.lookAtRanges() }},
		queue.Source{View: k.services.View, Handle: func(e api.Event) {
			k.queue.Add(key{api.Services.Resource.Name, owner.KeyOf(e.Object())})
			if old, ok := e.Old.(*corev1.Service); ok {
				for _, ip := range addresses(old) {
					k.queue.Add(key{api.IPAddresses.Resource.Name, owner.Key{Name: ip.String()}})
				}
				k.lookAtRanges()
			}
		}},
		queue.Source{View: k.addresses.View, Handle: func(e api.Event) {
			k.queue.Add(key{api.IPAddresses.Resource.Name, owner.KeyOf(e.Object())})
			if ref := e.Object().(*networkingv1.IPAddress).Spec.ParentRef; ref != nil && e.Type != api.Added {
				k.queue.Add(key{api.Services.Resource.Name, owner.Key{Namespace: ref.Namespace, Name: ref.Name}})
			}
		}},
	)
}

// lookAtRanges has the ServiceCIDRs looked at that are not as they should stay: there are few.
func (k *Controller) lookAtRanges() {
	for _, c := range k.ranges.List("") {
		if c.DeletionTimestamp != nil || !slices.Contains(c.Finalizers, Finalizer) || !meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady) {
			k.queue.Add(key{api.ServiceCIDRs.Resource.Name, owner.KeyOf(c)})
		}
	}
}

func (k *Controller) sync(ctx context.Context, at key) error {
	switch at.of {
	case api.Services.Resource.Name:
		return k.syncService(ctx, at.Key)
	case api.IPAddresses.Resource.Name:
		return k.syncAddress(ctx, at.Name)
	}
	return k.syncRange(ctx, at)
}

// syncService sees to the IPAddresses of a service.
func (k *Controller) syncService(ctx context.Context, at owner.Key) error {
	svc, ok := k.services.Get(at.Namespace, at.Name)
	if !ok {
		return nil
	}
	for _, ip := range addresses(svc) {
		want := addressFor(svc, ip)
		switch is, ok := k.addresses.Get("", want.Name); {
		case ok && equality.Semantic.DeepEqual(is.Spec, want.Spec):
			continue
		case ok && is.Labels[networkingv1.LabelManagedBy] != allocate.ManagedBy:
			continue // somebody else's; the allocator gives no such address
		case ok:
			if err := k.remove(ctx, is); err != nil {
				return err
			}
		}
		if _, err := api.IPAddresses.Create(ctx, k.client, want); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("service %s: create IPAddress %s: %w", at, ip, err)
		}
	}
	return nil
}

// syncAddress removes an IPAddress whose service holds the address no more.
func (k *Controller) syncAddress(ctx context.Context, name string) error {
	address, ok := k.addresses.Get("", name)
	if !ok || address.Labels[networkingv1.LabelManagedBy] != allocate.ManagedBy || address.Spec.ParentRef == nil {
		return nil
	}
	ref := address.Spec.ParentRef
	if svc, ok := k.services.Get(ref.Namespace, ref.Name); ok {
		if ip, err := netip.ParseAddr(name); err == nil && slices.Contains(addresses(svc), ip) {
			return nil
		}
	}
	return k.remove(ctx, address)
}

func (k *Controller) remove(ctx context.Context, a *networkingv1.IPAddress) error {
	err := api.IPAddresses.Delete(ctx, k.client, "", a.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("IPAddress %s: delete: %w", a.Name, err)
	}
	return nil
}

func (k *Controller) syncRange(ctx context.Context, at key) error {
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
		out = append(out, addresses(svc)...)
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
