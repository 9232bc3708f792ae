// Package endpointslicemirroring copies Endpoints that a user wrote for a service without a selector into
// EndpointSlices, which is what everything that routes traffic reads. plan decides; sync acts.
package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

// ManagedBy marks the slices that are mirrors.
const ManagedBy = "endpointslicemirroring-controller.k8s.io"

const (
	workers       = 5
	maxPerSubset  = 1000 // further addresses are left out, with an event
	leaderElected = "control-plane.alpha.kubernetes.io/leader"
)

// A Controller keeps the mirrors.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	m := &Controller{client: c, events: events}
	m.queue = queue.New("endpoint_slice_mirroring", workers, m.sync)
	return m
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	same := owner.EnqueueObject(c.queue.Add) // a service and its Endpoints have one name
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.Endpoints.Resource), Handle: same},
		queue.Source{View: c.client.View(api.Services.Resource), Handle: same},
		queue.Source{View: c.client.View(api.EndpointSlices.Resource), Handle: func(e api.Event) {
			if o := e.Object(); o.GetLabels()[discoveryv1.LabelManagedBy] == ManagedBy {
				c.queue.Add(owner.Key{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]})
			}
		}},
	)
}

// sync brings the mirrors of one Endpoints object up to date.
func (c *Controller) sync(ctx context.Context, k owner.Key) error {
	all := api.EndpointSlices.View(c.client).ByIndex(api.ByService, k.Namespace+"/"+k.Name)
	have := slices.DeleteFunc(slices.Clone(all), func(s *discoveryv1.EndpointSlice) bool { return s.Labels[discoveryv1.LabelManagedBy] != ManagedBy })
	var want []*discoveryv1.EndpointSlice
	ep, ok := api.Endpoints.View(c.client).Get(k.Namespace, k.Name)
	svc, has := api.Services.View(c.client).Get(k.Namespace, k.Name)
	if ok && has && mirrored(ep, svc) {
		var invalid, skipped int
		want, invalid, skipped = mirror(ep)
		c.complain(ep, invalid, skipped)
	}
	p := plan(have, want)
	return errors.Join(c.create(ctx, p.create), c.update(ctx, p.update), c.remove(ctx, p.remove))
}

// mirrored reports whether ep is the user's own word on where svc leads.
func mirrored(ep *corev1.Endpoints, svc *corev1.Service) bool {
	_, elected := ep.Annotations[leaderElected]
	return ep.DeletionTimestamp == nil && len(svc.Spec.Selector) == 0 && !elected && ep.Labels[discoveryv1.LabelSkipMirror] != "true"
}

func (c *Controller) complain(ep *corev1.Endpoints, invalid, skipped int) {
	if invalid > 0 {
		c.events.Event(ep, corev1.EventTypeWarning, "InvalidIPAddress", "Skipped %d invalid IP addresses when mirroring to EndpointSlices", invalid)
	}
	if skipped > invalid {
		c.events.Event(ep, corev1.EventTypeWarning, "TooManyAddressesToMirror",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", maxPerSubset, skipped)
	}
}

// mirror returns the slices that say what ep says, one for each set of ports and kind of address, without
// names. invalid of the skipped addresses are none.
func mirror(ep *corev1.Endpoints) (out []*discoveryv1.EndpointSlice, invalid, skipped int) {
	for i := range ep.Subsets {
		s := &ep.Subsets[i]
		taken := 0
		for _, group := range []struct {
			addresses []corev1.EndpointAddress
			ready     bool
		}{{s.Addresses, true}, {s.NotReadyAddresses, false}} {
			for _, a := range group.addresses {
				ip, err := netip.ParseAddr(a.IP)
				if err != nil {
					invalid++
				}
				if err != nil || taken >= maxPerSubset {
					skipped++
					continue
				}
				taken++
				into := sliceFor(&out, ep, s.Ports, ip)
				into.Endpoints = append(into.Endpoints, endpoint(a, ip, group.ready))
			}
		}
	}
	return out, invalid, skipped
}

func sliceFor(all *[]*discoveryv1.EndpointSlice, ep *corev1.Endpoints, subsetPorts []corev1.EndpointPort, ip netip.Addr) *discoveryv1.EndpointSlice {
	next := newMirror(ep, subsetPorts, ip)
	for _, s := range *all {
		if s.AddressType == next.AddressType && equality.Semantic.DeepEqual(s.Ports, next.Ports) {
			return s
		}
	}
	*all = append(*all, next)
	return next
}

func newMirror(ep *corev1.Endpoints, subsetPorts []corev1.EndpointPort, ip netip.Addr) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	if ip.Is6() {
		s.AddressType = discoveryv1.AddressTypeIPv6
	}
	s.Namespace, s.GenerateName = ep.Namespace, ep.Name+"-"
	s.OwnerReferences = []metav1.OwnerReference{*owner.Ref(ep, api.Endpoints.Resource)}
	s.Labels = map[string]string{}
	maps.Copy(s.Labels, ep.Labels)
	s.Labels[discoveryv1.LabelServiceName], s.Labels[discoveryv1.LabelManagedBy] = ep.Name, ManagedBy
	for k, v := range ep.Annotations {
		if k != corev1.EndpointsLastChangeTriggerTime && k != corev1.LastAppliedConfigAnnotation {
			metav1.SetMetaDataAnnotation(&s.ObjectMeta, k, v)
		}
	}
	for _, p := range subsetPorts {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(p.Port), Protocol: new(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return s
}

func endpoint(a corev1.EndpointAddress, ip netip.Addr, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: new(ready)},
		TargetRef: a.TargetRef, NodeName: a.NodeName}
	if a.Hostname != "" {
		e.Hostname = new(a.Hostname)
	}
	return e
}

// A changes is what one sync writes.
type changes struct{ create, update, remove []*discoveryv1.EndpointSlice }

// plan gives each wanted slice one that is there, preferably one that matches already or has the same
// ports, and says what is left to do. Slices' kind of address cannot be changed.
func plan(have, want []*discoveryv1.EndpointSlice) changes {
	var c changes
	rest := slices.Clone(have)
	take := func(w *discoveryv1.EndpointSlice, fits func(h *discoveryv1.EndpointSlice) bool) *discoveryv1.EndpointSlice {
		i := slices.IndexFunc(rest, func(h *discoveryv1.EndpointSlice) bool { return h.AddressType == w.AddressType && fits(h) })
		if i < 0 {
			return nil
		}
		h := rest[i]
		rest = slices.Delete(rest, i, i+1)
		return h
	}
	var unplaced []*discoveryv1.EndpointSlice
	for _, w := range want {
		h := take(w, func(h *discoveryv1.EndpointSlice) bool { return equality.Semantic.DeepEqual(h.Ports, w.Ports) })
		if h == nil {
			unplaced = append(unplaced, w)
		} else if !same(h, w) {
			c.update = append(c.update, merged(h, w))
		}
	}
	for _, w := range unplaced {
		if h := take(w, func(*discoveryv1.EndpointSlice) bool { return true }); h != nil {
			c.update = append(c.update, merged(h, w))
		} else {
			c.create = append(c.create, w)
		}
	}
	c.remove = rest
	return c
}

func same(h, w *discoveryv1.EndpointSlice) bool {
	return equality.Semantic.DeepEqual(h.Endpoints, w.Endpoints) && equality.Semantic.DeepEqual(h.Ports, w.Ports) &&
		equality.Semantic.DeepEqual(h.Labels, w.Labels) && equality.Semantic.DeepEqual(h.Annotations, w.Annotations) &&
		equality.Semantic.DeepEqual(h.OwnerReferences, w.OwnerReferences)
}

// merged returns w under h's name. Without a resource version: the mirror overrules whoever wrote to it.
func merged(h, w *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	next := h.DeepCopy()
	next.ResourceVersion = ""
	next.Labels, next.Annotations, next.OwnerReferences = w.Labels, w.Annotations, w.OwnerReferences
	next.Ports, next.Endpoints = w.Ports, w.Endpoints
	return next
}

func (c *Controller) create(ctx context.Context, list []*discoveryv1.EndpointSlice) error {
	for _, s := range list {
		_, err := api.EndpointSlices.Create(ctx, c.client, s)
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return fmt.Errorf("mirror endpoints %s/%s: %w", s.Namespace, strings.TrimSuffix(s.GenerateName, "-"), err)
		}
	}
	return nil
}

func (c *Controller) update(ctx context.Context, list []*discoveryv1.EndpointSlice) error {
	for _, s := range list {
		if _, err := api.EndpointSlices.Update(ctx, c.client, s); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("update mirror %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	return nil
}

func (c *Controller) remove(ctx context.Context, list []*discoveryv1.EndpointSlice) error {
	for _, s := range list {
		err := api.EndpointSlices.Delete(ctx, c.client, s.Namespace, s.Name, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete mirror %s/%s: %w", s.Namespace, s.Name, err)
		}
	}
	return nil
}
