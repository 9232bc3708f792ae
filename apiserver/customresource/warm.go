package customresource

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// idle is how long what was made of a schema stays at least while nobody uses it.
const idle = 2 * time.Minute

// A warm value is made when it is needed, and made again when it is needed after it was idle: what validates the
// objects of a kind takes many times the room of its schema, and of hundreds of kinds few are in use.
type warm[T any] struct {
	make  func() T
	among *warmth

	mu    sync.Mutex // held while the value is made
	value atomic.Pointer[T]
	used  atomic.Bool // since the last look
}

func newWarm[T any](among *warmth, make func() T) *warm[T] { return &warm[T]{make: make, among: among} }

func (w *warm[T]) get() T { return w.or(w.make) }

// or is get for what nobody but its users knows how to make.
func (w *warm[T]) or(make func() T) T {
	if v := w.value.Load(); v != nil {
		w.touch()
		return *v
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.touch()
	if v := w.value.Load(); v != nil {
		return *v
	}
	v := make()
	w.value.Store(&v)
	w.among.add(w)
	return v
}

// touch writes only where nobody has: readers share the line otherwise.
func (w *warm[T]) touch() {
	if !w.used.Load() {
		w.used.Store(true)
	}
}

// cool drops the value unless it was used since the last look. Who has it goes on with it.
func (w *warm[T]) cool() (cold bool) {
	if w.used.Swap(false) {
		return false
	}
	w.value.Store(nil)
	return true
}

// A warmth knows which values there are now.
type warmth struct {
	mu     sync.Mutex
	values map[interface{ cool() bool }]struct{}
	nudge  chan struct{}
}

func newWarmth() *warmth {
	return &warmth{values: map[interface{ cool() bool }]struct{}{}, nudge: make(chan struct{}, 1)}
}

func (a *warmth) add(v interface{ cool() bool }) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.values[v] = struct{}{}
	poke(a.nudge)
}

// look drops what nobody has used since the last look; again says that something is left.
func (a *warmth) look() (again bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for v := range a.values {
		if v.cool() {
			delete(a.values, v)
		}
	}
	return len(a.values) > 0
}

// Run looks every now and then, while there is anything to look for, until ctx ends.
func (a *warmth) Run(ctx context.Context) error {
	for again := false; ; {
		var due <-chan time.Time
		nudge := a.nudge
		if again {
			due, nudge = time.After(idle), nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-nudge:
			again = true
		case <-due:
			again = a.look()
		}
	}
}
