package h2

import (
	"slices"
	"sync"
	"time"
)

const (
	// idleWorkers is how many goroutines wait for requests: as many as a busy server answers side by side.
	idleWorkers = 64
	// idleWorkersFor is how long there may be some that nobody needs.
	idleWorkersFor = 2 * time.Second
)

// workers are the goroutines that handlers run on. One that is done with a request waits for another: its stack has grown to
// what handlers need, while that of a new one is moved several times on its way there, which costs a tenth of a small request.
type workers struct {
	mu    sync.Mutex
	idle  []chan *stream // the one that was busy last is last
	spare int            // how many of them have waited since the last sweep
	timer *time.Timer    // for the next one; nil as long as nobody waits
}

// run runs a stream's handler.
func (w *workers) run(st *stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.idle) - 1
	if last < 0 {
		go w.work(st)
		return
	}
	w.idle[last] <- st
	w.idle[last] = nil
	w.idle = w.idle[:last]
	w.spare = min(w.spare, last)
}

func (w *workers) work(st *stream) {
	next := make(chan *stream, 1)
	for st != nil {
		st.run()
		if !w.wait(next) {
			return
		}
		st = <-next
	}
}

func (w *workers) wait(next chan *stream) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.idle) == idleWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	if w.timer == nil {
		w.timer = time.AfterFunc(idleWorkersFor, w.sweep)
	}
	return true
}

// sweep ends those that nobody has needed since the last time.
func (w *workers) sweep() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.spare {
		close(w.idle[i])
	}
	w.idle = slices.Delete(w.idle, 0, w.spare)
	if w.spare = len(w.idle); w.spare == 0 {
		w.timer = nil
		return
	}
	w.timer.Reset(idleWorkersFor)
}
