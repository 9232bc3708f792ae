package status

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// How a lease that cannot be renewed is tried again. Upstream's figures.
const (
	firstBackOff = 200 * time.Millisecond
	lastBackOff  = 7 * time.Second
	leaseJitter  = 0.04 // of the interval between renewals
)

// A lease is a node's sign of life: it is renewed four times in its duration.
type lease struct {
	client   api.Client
	node     string
	duration time.Duration
	held     *coordinationv1.Lease // as last written; nil: to be looked at anew
}

// run renews the lease until ctx ends.
func (l *lease) run(ctx context.Context) error {
	for backOff := firstBackOff; ; {
		pause := l.duration / 4
		pause += time.Duration(rand.Float64() * leaseJitter * float64(pause))
		if err := l.renew(ctx, time.Now()); err == nil {
			backOff = firstBackOff
		} else if ctx.Err() == nil {
			pause, backOff = min(pause, backOff), min(2*backOff, lastBackOff)
			slog.Warn("Renewing the node's lease failed; it will be retried", "node", l.node, "pause", pause, "err", err)
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// renew moves the lease's time on, making the lease if there is none.
func (l *lease) renew(ctx context.Context, now time.Time) (err error) {
	if l.held == nil {
		l.held, err = api.Leases.Get(ctx, l.client, corev1.NamespaceNodeLease, l.node)
		if apierrors.IsNotFound(err) {
			l.held, err = api.Leases.Create(ctx, l.client, l.next(&coordinationv1.Lease{}, now))
		}
		if err != nil {
			l.held = nil
			return err
		}
	}
	next := l.next(l.held, now)
	if l.held, err = api.Leases.Update(ctx, l.client, next); err != nil {
		l.held = nil // changed or deleted by somebody else, perhaps
	}
	return err
}

// next returns old renewed.
func (l *lease) next(old *coordinationv1.Lease, now time.Time) *coordinationv1.Lease {
	next := old.DeepCopy()
	next.Namespace, next.Name = corev1.NamespaceNodeLease, l.node
	at, seconds := metav1.NewMicroTime(now), int32(l.duration.Seconds())
	next.Spec.HolderIdentity, next.Spec.LeaseDurationSeconds, next.Spec.RenewTime = &l.node, &seconds, &at
	if n, ok := api.Nodes.View(l.client).Get("", l.node); ok && len(next.OwnerReferences) == 0 {
		next.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}
	}
	return next
}
