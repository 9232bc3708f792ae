package servicecidr

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
	"clipper/api/record"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

// DefaultComponent is whom events about the default ServiceCIDR name, as upstream's.
const DefaultComponent = "kubernetes-service-cidr-controller"

// A Default keeps the ServiceCIDR that a server's own ranges are in: it is made again when it has gone, gets its second
// range when the servers have, and events say where it differs.
type Default struct {
	client api.Client
	ranges api.TypedView[*networkingv1.ServiceCIDR]
	want   *networkingv1.ServiceCIDR
	events *record.Recorder
	queue  *queue.Queue[owner.Key]
	told   bool // that it differs
}

// NewDefault returns the controller that keeps want; Run starts it.
func NewDefault(c api.Client, want *networkingv1.ServiceCIDR, events *record.Recorder) *Default {
	d := &Default{client: c, ranges: api.ServiceCIDRs.View(c), want: want, events: events}
	d.queue = queue.New("servicecidr_default", 1, d.sync)
	return d
}

// Run works until ctx ends.
func (d *Default) Run(ctx context.Context) error {
	d.queue.Add(owner.Key{Name: d.want.Name})
	return d.queue.Run(ctx, queue.Source{View: d.ranges.View, Handle: func(e api.Event) {
		if at := owner.KeyOf(e.Object()); at.Name == d.want.Name {
			d.queue.Add(at)
		}
	}})
}

// what the default ServiceCIDR needs.
type upkeep int

const (
	nothing upkeep = iota
	create
	addRange // the second: the cluster has two families from now on
	tell     // that it differs from what this server was started with
)

func planDefault(is, want *networkingv1.ServiceCIDR) upkeep {
	switch {
	case is == nil:
		return create
	case len(is.Spec.CIDRs) == 1 && len(want.Spec.CIDRs) == 2 && is.Spec.CIDRs[0] == want.Spec.CIDRs[0]:
		return addRange
	case is.DeletionTimestamp == nil && !slices.Equal(is.Spec.CIDRs, want.Spec.CIDRs):
		return tell
	}
	return nothing
}

func (d *Default) sync(ctx context.Context, at owner.Key) error {
	is, _ := d.ranges.Get("", at.Name)
	switch planDefault(is, d.want) {
	case create:
		if _, err := api.ServiceCIDRs.Create(ctx, d.client, d.want.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			d.warn(d.want, "KubernetesDefaultServiceCIDRError", "The default ServiceCIDR can not be created")
			return fmt.Errorf("default ServiceCIDR %s: create: %w", at.Name, err)
		}
	case addRange:
		next := is.DeepCopy()
		next.Spec.CIDRs = slices.Clone(d.want.Spec.CIDRs)
		if _, err := api.ServiceCIDRs.Update(ctx, d.client, next); err != nil {
			d.warn(is, "KubernetesDefaultServiceCIDRError", "The default ServiceCIDR can not be upgraded from %s to dual stack %v : %v", is.Spec.CIDRs[0], d.want.Spec.CIDRs, err)
			return fmt.Errorf("default ServiceCIDR %s: add range %s: %w", at.Name, d.want.Spec.CIDRs[1], err)
		}
	case tell:
		if !d.told {
			d.warn(is, "KubernetesDefaultServiceCIDRInconsistent", "The default ServiceCIDR %v does not match the controller flag configurations %s", is.Spec.CIDRs, d.want.Spec.CIDRs)
			d.told = true
		}
	}
	return nil
}

func (d *Default) warn(c *networkingv1.ServiceCIDR, reason, format string, args ...any) {
	d.events.Event(c, corev1.EventTypeWarning, reason, format, args...)
}
