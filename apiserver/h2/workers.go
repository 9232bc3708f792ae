package h2

import "sync"

// idleWorkers is how many goroutines wait for requests: as many as a busy server answers side by side.
const idleWorkers = 64

// workers are the goroutines that handlers run on. One that is done with a request waits for another: its stack has grown to
// what handlers need, while that of a new one is moved several times on its way there, which costs a tenth of a small request.
type workers struct {
	mu   sync.Mutex
	open bool
	idle []chan *stream // the one that was busy last is last
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
	if !w.open || len(w.idle) == idleWorkers {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

// admit says whether there are connections. Without any, nobody waits.
func (w *workers) admit(some bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = some
	if some {
		return
	}
	for _, next := range w.idle {
		close(next)
	}
	w.idle = nil
}
