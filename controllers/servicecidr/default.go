package servicecidr

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/record"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

// DefaultComponent is whom events about the default ServiceCIDR name, as upstream's.
const DefaultComponent = "kubernetes-service-cidr-controller"

// A Default keeps the ServiceCIDR that a server's own ranges are in: it is made again when it has gone, gets its second
// range when the servers have, is said to be ready, and events say where it differs. Every server keeps it, as upstream.
type Default struct {
	client api.Client
	ranges api.TypedView[*networkingv1.ServiceCIDR]
	want   *networkingv1.ServiceCIDR
	events *record.Recorder
	queue  *queue.Queue[owner.Key]

	told, doubted bool // that it differs; that it is not ready
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
	judge    // it is ready: nobody has said so yet
	doubt    // somebody has said that it is not
)

func planDefault(is, want *networkingv1.ServiceCIDR) upkeep {
	switch {
	case is == nil:
		return create
	case len(is.Spec.CIDRs) == 1 && len(want.Spec.CIDRs) == 2 && is.Spec.CIDRs[0] == want.Spec.CIDRs[0]:
		return addRange
	case is.DeletionTimestamp != nil:
		return nothing
	case !slices.Equal(is.Spec.CIDRs, want.Spec.CIDRs):
		return tell
	}
	switch ready := meta.FindStatusCondition(is.Status.Conditions, networkingv1.ServiceCIDRConditionReady); {
	case ready == nil || ready.Status == metav1.ConditionUnknown:
		return judge
	case ready.Status == metav1.ConditionFalse:
		return doubt
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
	case judge:
		return d.judge(ctx, is)
	case doubt:
		if c := meta.FindStatusCondition(is.Status.Conditions, networkingv1.ServiceCIDRConditionReady); !d.doubted {
			d.warn(is, c.Reason, "Configuration matches, but %s", c.Message)
			d.doubted = true
		}
	}
	return nil
}

// judge says that the range is ready, for addresses come from it already.
func (d *Default) judge(ctx context.Context, is *networkingv1.ServiceCIDR) error {
	ready := metav1.Condition{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes default Service CIDR is ready"}
	_, err := api.ServiceCIDRs.Mutate(ctx, d.client, "", is.Name, "status", func(c *networkingv1.ServiceCIDR) (bool, error) {
		return planDefault(c, d.want) == judge && meta.SetStatusCondition(&c.Status.Conditions, ready), nil
	})
	if err != nil && !apierrors.IsNotFound(err) {
		d.warn(is, "KubernetesDefaultServiceCIDRError", "The default ServiceCIDR Status can not be set to Ready=True")
		return fmt.Errorf("default ServiceCIDR %s: set condition %s: %w", is.Name, ready.Type, err)
	}
	return nil
}

func (d *Default) warn(c *networkingv1.ServiceCIDR, reason, format string, args ...any) {
	d.events.Event(c, corev1.EventTypeWarning, reason, format, args...)
}
