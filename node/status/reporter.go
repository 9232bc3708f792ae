package status

import (
	"context"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
)

// A Recorder takes events.
type Recorder interface {
	EventAt(ref corev1.ObjectReference, eventType, reason, format string, args ...any)
}

// A Setter completes a node's status with what another part of the node knows: devices and their capacity, or
// volumes in use. It must not change what it did not make: the status shares parts with others.
type Setter func(*corev1.NodeStatus)

// Options say what is reported, and from where. All fields are required.
type Options struct {
	Client   api.Client
	Recorder Recorder
	Facts    Facts // what is known from the start; images, pressure and readiness are looked at later
	Config   *kubeletconfig.Configuration
	Images   func(context.Context) ([]runtime.Image, error)
	Pressure func() (Pressure, error)
}

// shortestUpdate is how often a node looks at itself at most, whatever the settings say.
const shortestUpdate = 100 * time.Millisecond

// settleTime bounds how long an agent that has just started may leave open whether its node is ready. It is less than
// what makes a node count as lost.
const settleTime = 30 * time.Second

// A Reporter keeps the Node object and its lease. Make it with New, Register once, then Run.
type Reporter struct {
	opts  Options
	wake  chan struct{}
	lease *lease
	began time.Time

	mu      sync.Mutex
	facts   Facts
	settled bool // what Settling was about is known, and not yet told
	setters []Setter

	// The rest belongs to Register and then to Run.
	last          *corev1.Node
	reported      time.Time
	delay         time.Duration // added to the wait for the next report that nothing but time asks for
	unschedulable bool
	bootTold      bool
}

// New returns the reporter of the node that o.Facts describe.
func New(o Options) *Reporter {
	return &Reporter{
		opts: o, facts: o.Facts, wake: make(chan struct{}, 1), began: time.Now(),
		lease: &lease{client: o.Client, node: o.Facts.Name, duration: time.Duration(o.Config.NodeLeaseDurationSeconds) * time.Second},
	}
}

// Extend adds what a further part knows to all statuses to come. Call it before Register.
func (r *Reporter) Extend(s Setter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setters = append(r.setters, s)
}

// Facts returns what is currently reported.
func (r *Reporter) Facts() Facts {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.facts
}

// SetNotReady changes whether a part of the node keeps pods from being run; "" means it does not. The report
// follows at once.
func (r *Reporter) SetNotReady(part Part, why string) {
	r.mu.Lock()
	changed := r.facts.NotReady[part] != why || r.facts.Settling
	next := map[Part]string{}
	maps.Copy(next, r.facts.NotReady) // facts are handed out: the map in use is never changed
	next[part] = why
	r.facts.NotReady = next
	// The network comes last: when it is there, or something else is known to be wrong, all is known.
	settling := r.facts.Settling
	r.facts.Settling = settling && part != Network && why == ""
	r.settled = r.settled || settling && !r.facts.Settling
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
			r.event(n, corev1.EventTypeNormal, "Starting", "Starting kubelet.")
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
	if r.last != nil { // it was there and has been deleted: pods still have its addresses
		f.PodCIDRs = r.last.Spec.PodCIDRs
	}
	if *r.opts.Config.RegisterNode {
		want := f.Object(time.Now())
		r.complete(&want.Status)
		n, err := api.Nodes.Create(ctx, r.opts.Client, want)
		if err == nil {
			r.tell(n, &corev1.NodeStatus{}, &n.Status)
			return n, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, err
		}
	}
	n, err := api.Nodes.Mutate(ctx, r.opts.Client, "", f.Name, "", func(n *corev1.Node) (bool, error) {
		return f.reconcile(n), nil
	})
	if err != nil {
		return nil, err
	}
	r.last = n
	if err := r.report(ctx, f, true); err != nil {
		return nil, err
	}
	return r.last, nil
}

// refreshed returns the facts with what changes over time read anew.
func (r *Reporter) refreshed(ctx context.Context) Facts {
	images, err := r.opts.Images(ctx)
	if err != nil {
		slog.Warn("Listing the node's images failed", "err", err)
	}
	pressure, perr := r.opts.Pressure()
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
	r.facts.Settling = r.facts.Settling && time.Since(r.began) < settleTime
	return r.facts
}

// Run renews the lease and reports changes until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.lease.run(ctx) })
	group.Go(func() error { return r.keepReporting(ctx) })
	return group.Wait()
}

func (r *Reporter) keepReporting(ctx context.Context) error {
	tick := time.NewTicker(max(r.opts.Config.NodeStatusUpdateFrequency.Duration, shortestUpdate))
	defer tick.Stop()
	for {
		if err := r.report(ctx, r.refreshed(ctx), r.takeSettled()); err != nil && ctx.Err() == nil {
			slog.Warn("Reporting the node's status failed; it will be retried", "node", r.Facts().Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// takeSettled reports, once, that the agent has come to know whether the node is ready. It is told even if that is
// what was said before: whoever waits for a node whose agent has started again looks at the time of the word.
func (r *Reporter) takeSettled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	settled := r.settled
	r.settled = false
	return settled
}

// report writes the status if it says something new, if it is due, or if force says so.
func (r *Reporter) report(ctx context.Context, f Facts, force bool) error {
	now, every := time.Now(), r.opts.Config.NodeStatusReportFrequency.Duration
	v, there := api.Nodes.View(r.opts.Client).Get("", f.Name)
	if there && newer(v, r.last) {
		r.last = v
	}
	st := f.Status(r.last, now)
	r.complete(&st)
	// Writing is what finds out that the node has been deleted, and brings it back.
	changed := force || !there || !sameApartFromHeartbeat(&r.last.Status, &st)
	if !changed && now.Sub(r.reported) < every+r.delay {
		r.tellSchedulable(r.last)
		return nil
	}
	n, err := r.write(ctx, f, now)
	if err != nil {
		return err
	}
	r.last, r.reported, r.delay = n, now, 0
	if changed {
		// Nodes that changed together, at the start of a cluster perhaps, shall not go on reporting together.
		r.delay = time.Duration((rand.Float64() - 0.5) * float64(every))
	}
	return nil
}

func (r *Reporter) write(ctx context.Context, f Facts, now time.Time) (*corev1.Node, error) {
	var old corev1.NodeStatus
	n, err := api.Nodes.Mutate(ctx, r.opts.Client, "", f.Name, "status", func(n *corev1.Node) (bool, error) {
		old = n.Status
		n.Status = f.Status(n, now)
		r.complete(&n.Status)
		return true, nil
	})
	if apierrors.IsNotFound(err) && *r.opts.Config.RegisterNode { // deleted by hand: a node that lives comes back
		return r.register(ctx)
	}
	if err == nil {
		r.tell(n, &old, &n.Status)
	}
	return n, err
}

// complete lets the other parts add to a status.
func (r *Reporter) complete(s *corev1.NodeStatus) {
	r.mu.Lock()
	setters := r.setters
	r.mu.Unlock()
	for _, set := range setters {
		set(s)
	}
}

func newer(a, b *corev1.Node) bool {
	return b == nil || (a.UID == b.UID && len(a.ResourceVersion) >= len(b.ResourceVersion) && a.ResourceVersion > b.ResourceVersion) ||
		(a.UID == b.UID && len(a.ResourceVersion) > len(b.ResourceVersion))
}

// tell records what has changed between two statuses of n.
func (r *Reporter) tell(n *corev1.Node, old, next *corev1.NodeStatus) {
	if rebooted(old, next) && !r.bootTold {
		r.bootTold = true
		r.event(n, corev1.EventTypeWarning, "Rebooted", "Node %s has been rebooted, boot id: %s", n.Name, next.NodeInfo.BootID)
	}
	for _, name := range transitions(old, next) {
		r.event(n, corev1.EventTypeNormal, name, "Node %s status is now: %s", n.Name, name)
	}
	r.tellSchedulable(n)
}

// tellSchedulable records that an administrator has closed the node to new pods, or opened it.
func (r *Reporter) tellSchedulable(n *corev1.Node) {
	if r.unschedulable == n.Spec.Unschedulable {
		return
	}
	r.unschedulable = n.Spec.Unschedulable
	name := "NodeSchedulable"
	if r.unschedulable {
		name = "NodeNotSchedulable"
	}
	r.event(n, corev1.EventTypeNormal, name, "Node %s status is now: %s", n.Name, name)
}

func (r *Reporter) event(n *corev1.Node, eventType, reason, format string, args ...any) {
	// Events of nodes have carried the name as UID ever since, and tools look for that.
	r.opts.Recorder.EventAt(corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: n.Name, UID: types.UID(n.Name)}, eventType, reason, format, args...)
}
