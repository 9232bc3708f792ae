package status

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/node/runtime"
)

// How often things are said anew although nothing changed. Upstream's figures.
const (
	renewEvery   = 10 * time.Second
	leaseSeconds = 40
	reportEvery  = 5 * time.Minute
)

// A Recorder takes events.
type Recorder interface {
	EventAt(ref corev1.ObjectReference, eventType, reason, format string, args ...any)
}

// A Reporter keeps the Node object and its lease. Make it with New, Register once, then Run.
type Reporter struct {
	client   api.Client
	recorder Recorder
	images   func(context.Context) ([]runtime.Image, error)
	dataDir  string
	wake     chan struct{}

	mu    sync.Mutex
	facts Facts

	// The rest belongs to Register and then Run's goroutine.
	last     *corev1.Node
	reported time.Time
	lease    *coordinationv1.Lease
}

// New returns the reporter of the node that facts describe. images lists what the node has; dataDir is
// where its disk is.
func New(c api.Client, r Recorder, facts Facts, dataDir string, images func(context.Context) ([]runtime.Image, error)) *Reporter {
	return &Reporter{client: c, recorder: r, facts: facts, dataDir: dataDir, images: images, wake: make(chan struct{}, 1)}
}

// Facts returns what is currently reported.
func (r *Reporter) Facts() Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts
}

// SetNotReady changes whether pods can be run; "" means they can. The report follows at once.
func (r *Reporter) SetNotReady(why string) {
	r.mu.Lock()
	changed := r.facts.NotReady != why
	r.facts.NotReady = why
	r.mu.Unlock()
	if changed {
		r.Changed()
	}
}

// Changed asks for a report soon: the node's images have changed, for instance.
func (r *Reporter) Changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Register makes sure of the Node object and returns it. It retries until ctx ends.
func (r *Reporter) Register(ctx context.Context) (*corev1.Node, error) {
	pause := 100 * time.Millisecond
	for {
		n, err := r.register(ctx)
		if err == nil {
			r.last, r.reported = n, time.Now()
			return n, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		slog.Warn("Registering the node failed; it will be retried", "node", r.Facts().Name, "err", err, "pause", pause)
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
		pause = min(2*pause, 7*time.Second)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (r *Reporter) register(ctx context.Context) (*corev1.Node, error) {
	f := r.refreshed(ctx)
	want := f.Object(time.Now())
	n, err := api.Nodes.Create(ctx, r.client, want)
	if err == nil {
		r.event(n, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
		r.tell(n, &corev1.NodeStatus{}, &n.Status)
		return n, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	n, err = api.Nodes.Mutate(ctx, r.client, "", f.Name, "", func(n *corev1.Node) (bool, error) {
		labels, annotations := maps.Clone(n.Labels), maps.Clone(n.Annotations)
		n.Labels, n.Annotations = merge(n.Labels, want.Labels), merge(n.Annotations, want.Annotations)
		return !maps.Equal(labels, n.Labels) || !maps.Equal(annotations, n.Annotations), nil
	})
	if err != nil {
		return nil, err
	}
	r.event(n, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	r.last = n
	if err := r.report(ctx, f, true); err != nil {
		return nil, err
	}
	return r.last, nil
}

func merge(have, want map[string]string) map[string]string {
	if have == nil {
		have = map[string]string{}
	}
	maps.Copy(have, want)
	return have
}

// refreshed returns the facts with what changes over time read anew.
func (r *Reporter) refreshed(ctx context.Context) Facts {
	images, err := r.images(ctx)
	if err != nil {
		slog.Warn("Listing the node's images failed", "err", err)
	}
	pressure, perr := ReadPressure(r.dataDir)
	if perr != nil {
		slog.Warn("Looking for pressure failed", "err", perr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.facts.Images = images
	}
	if perr == nil {
		r.facts.Pressure = pressure
	}
	return r.facts
}

// Run renews the lease and reports changes until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-tick.C:
			next := renewEvery
			if err := r.renew(ctx); err != nil && ctx.Err() == nil {
				slog.Warn("Renewing the node's lease failed; it will be retried", "node", r.Facts().Name, "err", err)
				next = time.Second
			}
			tick.Reset(next)
		}
		if err := r.report(ctx, r.refreshed(ctx), false); err != nil && ctx.Err() == nil {
			slog.Warn("Reporting the node's status failed; it will be retried", "node", r.Facts().Name, "err", err)
		}
	}
}

// report writes the status if it says something new, if it is due, or if force says so.
func (r *Reporter) report(ctx context.Context, f Facts, force bool) error {
	now := time.Now()
	if v, ok := api.Nodes.View(r.client).Get("", f.Name); ok && newer(v, r.last) {
		r.last = v
	}
	st := f.Status(r.last, now)
	if !force && now.Sub(r.reported) < reportEvery && sameApartFromHeartbeat(&r.last.Status, &st) {
		return nil
	}
	old := r.last.Status
	n, err := api.Nodes.Mutate(ctx, r.client, "", f.Name, "status", func(n *corev1.Node) (bool, error) {
		old = n.Status
		n.Status = f.Status(n, now)
		return true, nil
	})
	switch {
	case apierrors.IsNotFound(err): // deleted by hand: a node that lives comes back
		if n, err = r.register(ctx); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		r.tell(n, &old, &n.Status)
	}
	r.last, r.reported = n, now
	return nil
}

func newer(a, b *corev1.Node) bool {
	return b == nil || (a.UID == b.UID && len(a.ResourceVersion) >= len(b.ResourceVersion) && a.ResourceVersion > b.ResourceVersion) ||
		(a.UID == b.UID && len(a.ResourceVersion) > len(b.ResourceVersion))
}

func (r *Reporter) tell(n *corev1.Node, old, next *corev1.NodeStatus) {
	for _, name := range transitions(old, next) {
		r.event(n, corev1.EventTypeNormal, name, "Node %s status is now: %s", n.Name, name)
	}
}

func (r *Reporter) event(n *corev1.Node, eventType, reason, format string, args ...any) {
	// Events of nodes have carried the name as UID ever since, and tools look for that.
	r.recorder.EventAt(corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: types.UID(n.Name)}, eventType, reason, format, args...)
}

// renew moves the lease's time on, making the lease if there is none.
func (r *Reporter) renew(ctx context.Context) error {
	name := r.Facts().Name
	now := metav1.NewMicroTime(time.Now())
	if r.lease != nil {
		next := *r.lease
		next.Spec.RenewTime = &now
		updated, err := api.Leases.Update(ctx, r.client, &next)
		if err == nil {
			r.lease = updated
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	var err error
	r.lease, err = api.Leases.Get(ctx, r.client, corev1.NamespaceNodeLease, name)
	if apierrors.IsNotFound(err) {
		r.lease, err = api.Leases.Create(ctx, r.client, r.newLease(name, now))
		return err
	}
	if err != nil {
		r.lease = nil
		return err
	}
	next := r.lease.DeepCopy()
	seconds := int32(leaseSeconds)
	next.Spec.HolderIdentity, next.Spec.LeaseDurationSeconds, next.Spec.RenewTime = &name, &seconds, &now
	r.lease, err = api.Leases.Update(ctx, r.client, next)
	if err != nil {
		r.lease = nil
	}
	return err
}

func (r *Reporter) newLease(name string, now metav1.MicroTime) *coordinationv1.Lease {
	seconds := int32(leaseSeconds)
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
		Spec: coordinationv1.LeaseSpec{HolderIdentity: &name, LeaseDurationSeconds: &seconds, RenewTime: &now}}
	if r.last != nil && r.last.UID != "" {
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: name, UID: r.last.UID}}
	}
	return l
}
