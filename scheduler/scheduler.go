// Package scheduler gives pods their nodes. Deciding is pure and lies below: cluster is the picture of nodes
// and what is on them, queue the order of the waiting pods, fit the yes or no for a node, rank the choice
// among several, preempt the search for pods that must go. This package is the shell: it feeds the picture
// from the API's views, takes pods from the queue one after another, and writes the outcome back.
//
// A decision is made under one lock on a picture that is never copied, in some tens of microseconds. Writes
// happen outside of it, many at a time: a pod counts as placed as soon as it is decided ("assumed"), and is
// taken back if the write fails.
package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/api/record"
	"clipper/scheduler/cluster"
	"clipper/scheduler/queue"
)

// Name is the scheduler name that pods choose it by, and that its events carry.
const Name = corev1.DefaultSchedulerName

// binders is how many bindings are written at a time: enough that the store's group commit is full.
const binders = 32

// recorder is the part of a record.Recorder that is used here.
type recorder interface {
	Event(obj api.Object, eventType, reason, format string, args ...any)
}

var _ recorder = (*record.Recorder)(nil)

// A Scheduler schedules until its Run returns.
type Scheduler struct {
	client  api.Client
	events  recorder
	world   *world
	reports *reports
	now     func() time.Time
	chance  func(n int) int

	bind   chan *binding
	awake  chan struct{} // holds a token when the queue may have something
	claims notifier      // told of every change of claims and volumes

	// mu guards what follows. Under it there is only memory.
	mu      sync.Mutex
	cluster *cluster.Cluster
	queue   *queue.Queue
	assumed map[types.UID]string // node of pods whose binding is not yet seen in the view
	next    int                  // node to start looking at, so that all get their turn
}

// New returns a Scheduler that does nothing yet. rec writes events in the name of "default-scheduler"; to
// run it is the caller's.
func New(c api.Client, rec *record.Recorder) *Scheduler { return newScheduler(c, rec) }

func newScheduler(c api.Client, events recorder) *Scheduler {
	s := &Scheduler{
		client: c, events: events, world: newWorld(c), reports: newReports(),
		now: time.Now, chance: rand.IntN,
		bind: make(chan *binding, binders), awake: make(chan struct{}, 1),
		cluster: cluster.New(), queue: queue.New(), assumed: map[types.UID]string{},
	}
	s.queue.Entered = func(place, event string) { entered.WithLabelValues(place, event).Inc() }
	return s
}

// Run schedules until ctx ends; it returns ctx's error.
func (s *Scheduler) Run(ctx context.Context) error {
	running.set(s)
	defer running.set(nil)
	group, ctx := errgroup.WithContext(ctx)
	synced, err := s.observe(ctx, group)
	if err != nil {
		return fmt.Errorf("scheduler: %w", err)
	}
	for range binders {
		group.Go(func() error { return s.bindLoop(ctx, group) })
	}
	group.Go(func() error { return s.reportLoop(ctx) })
	group.Go(func() error {
		// Without the whole picture a pod might be put on a node that is full.
		if err := synced(ctx); err != nil {
			return err
		}
		return s.loop(ctx)
	})
	return group.Wait()
}

// loop takes pods from the queue, one after another.
func (s *Scheduler) loop(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		outcome, wait := s.step()
		if outcome != nil {
			if err := s.carryOut(ctx, outcome); err != nil {
				return err
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.awake:
		case <-timer.C:
		}
	}
}

// step decides on the next pod. Without one, wait is how long there will be none unless something happens.
func (s *Scheduler) step() (o *outcome, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for {
		it := s.queue.Pop(now)
		if it == nil {
			break
		}
		if o := s.decideLocked(it); o != nil {
			return o, 0
		}
	}
	const longest = time.Hour
	next := s.queue.Next()
	if next.IsZero() {
		return nil, longest
	}
	return nil, min(longest, max(time.Millisecond, next.Sub(now)))
}

// wake lets the loop look at the queue again.
func (s *Scheduler) wake() {
	select {
	case s.awake <- struct{}{}:
	default:
	}
}

// A notifier lets any number of goroutines wait for the next change.
type notifier struct {
	mu sync.Mutex
	ch chan struct{}
}

// next returns a channel that is closed at the next change.
func (n *notifier) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch == nil {
		n.ch = make(chan struct{})
	}
	return n.ch
}

func (n *notifier) changed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ch != nil {
		close(n.ch)
		n.ch = nil
	}
}
