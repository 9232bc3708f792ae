// Package queue is the engine of every controller: a set of keys that need work, filled by watches and
// timers, emptied by a bounded number of workers. A key that is added many times while it waits is worked
// on once; a key is never worked on twice at the same time; a failed key comes again after a growing
// pause. An idle queue has no worker goroutine.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
)

// The pauses after failures; upstream's figures.
const (
	firstPause = 5 * time.Millisecond
	maxPause   = 1000 * time.Second
)

// A Queue holds keys of type K. Its methods may be called from any goroutine, also before Run.
type Queue[K comparable] struct {
	name    string
	workers int
	work    func(context.Context, K) error
	meter   meter

	mu      sync.Mutex
	waiting []K             // in order of arrival
	dirty   map[K]time.Time // waiting, or added while being worked on; since when
	busy    map[K]time.Time // being worked on; since when
	fails   map[K]int       // failures in a row
	timers  map[K]*timer    // of keys that come later
	group   *errgroup.Group // of the workers; nil unless running
	ctx     context.Context
	running int
}

type timer struct {
	*time.Timer
	at time.Time
}

// New returns a queue whose keys are worked on by work, at most workers at a time. name is for the log
// and for metrics: upstream's, where it has such a queue.
func New[K comparable](name string, workers int, work func(context.Context, K) error) *Queue[K] {
	return &Queue[K]{
		name: name, workers: workers, work: work, meter: newMeter(name),
		dirty: map[K]time.Time{}, busy: map[K]time.Time{}, fails: map[K]int{}, timers: map[K]*timer{},
	}
}

// Add asks for work on k.
func (q *Queue[K]) Add(k K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(k)
}

func (q *Queue[K]) addLocked(k K) {
	if _, dirty := q.dirty[k]; dirty {
		return
	}
	q.meter.adds.Inc()
	q.dirty[k] = time.Now()
	if _, busy := q.busy[k]; !busy {
		q.waiting = append(q.waiting, k)
		q.startWorkerLocked()
	}
}

// AddAfter asks for work on k after d, or earlier if it has been asked for earlier.
func (q *Queue[K]) AddAfter(k K, d time.Duration) {
	if d <= 0 {
		q.Add(k)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	at := time.Now().Add(d)
	if t := q.timers[k]; t != nil {
		if !at.Before(t.at) {
			return
		}
		t.Stop()
	}
	t := &timer{at: at}
	t.Timer = time.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.timers[k] == t {
			delete(q.timers, k)
			q.addLocked(k)
		}
	})
	q.timers[k] = t
}

// A Source is a view whose changes put keys into a queue.
type Source struct {
	View   api.View
	Handle func(api.Event) // not called with Synced
}

// Run feeds the queue from the sources and works until ctx ends; then it waits for the workers and returns
// nil. Work begins when every source has delivered its initial state.
func (q *Queue[K]) Run(ctx context.Context, sources ...Source) error {
	group, ctx := errgroup.WithContext(ctx)
	var left atomic.Int32
	left.Store(int32(len(sources)))
	ready := make(chan struct{})
	if len(sources) == 0 {
		close(ready)
	}
	for _, s := range sources {
		group.Go(func() error {
			err := s.View.Watch(ctx, func(e api.Event) {
				if e.Type != api.Synced {
					s.Handle(e)
				} else if left.Add(-1) == 0 {
					close(ready)
				}
			})
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s: watch: %w", q.name, err)
		})
	}
	group.Go(func() error {
		select {
		case <-ready:
			q.start(ctx, group)
		case <-ctx.Done():
		}
		<-ctx.Done()
		q.stop()
		return nil
	})
	return group.Wait()
}

func (q *Queue[K]) start(ctx context.Context, group *errgroup.Group) {
	register(q, q.state)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ctx, q.group = ctx, group
	for range min(len(q.waiting), q.workers) {
		q.startWorkerLocked()
	}
}

func (q *Queue[K]) stop() {
	unregister(q)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.group = nil
	for _, t := range q.timers {
		t.Stop()
	}
}

// startWorkerLocked adds a worker if there may be one more.
func (q *Queue[K]) startWorkerLocked() {
	if q.group == nil || q.running == q.workers {
		return
	}
	q.running++
	ctx := q.ctx
	q.group.Go(func() error {
		for k, ok := q.next(); ok; k, ok = q.next() {
			q.done(k, q.work(ctx, k))
		}
		return nil
	})
}

// next takes a key to work on; without one the worker ends.
func (q *Queue[K]) next() (k K, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 || q.group == nil {
		q.running--
		return k, false
	}
	k, q.waiting = q.waiting[0], q.waiting[1:]
	if len(q.waiting) == 0 {
		q.waiting = nil // frees the array
	}
	now := time.Now()
	q.meter.waited.Observe(now.Sub(q.dirty[k]).Seconds())
	delete(q.dirty, k)
	q.busy[k] = now
	return k, true
}

func (q *Queue[K]) done(k K, err error) {
	pause := q.finish(k, err)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			level := slog.LevelWarn
			if apierrors.IsConflict(err) {
				level = slog.LevelDebug // somebody else wrote first; the next try will see it
			}
			slog.Log(context.Background(), level, "controller will try again", "controller", q.name, "object", k, "err", err)
		}
		q.meter.retries.Inc()
		q.AddAfter(k, pause)
	}
}

// finish ends k's turn and returns how long to wait before the next one after a failure.
func (q *Queue[K]) finish(k K, err error) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.meter.worked.Observe(time.Since(q.busy[k]).Seconds())
	delete(q.busy, k)
	if _, dirty := q.dirty[k]; dirty {
		q.waiting = append(q.waiting, k)
		q.startWorkerLocked()
	}
	if err == nil {
		delete(q.fails, k)
		return 0
	}
	n := q.fails[k]
	q.fails[k] = n + 1
	if n > 20 {
		return maxPause
	}
	return min(firstPause<<n, maxPause)
}

// state tells the metrics what there is to do.
func (q *Queue[K]) state() (string, state) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := state{depth: len(q.waiting)}
	for _, since := range q.busy {
		took := time.Since(since)
		s.undone += took
		s.longest = max(s.longest, took)
	}
	return q.name, s
}
