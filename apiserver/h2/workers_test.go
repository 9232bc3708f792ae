package h2

import (
	"net/http"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// TestWorkers: who has answered requests waits for others, whatever became of the handlers, and ends when there are none.
func TestWorkers(t *testing.T) {
	const atOnce = idleWorkers + 10
	served := make(chan *server, 1)
	over := make(chan struct{})
	s := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/server":
			served <- w.(Shared).Connection().(*conn).s
		case "/panic":
			panic(http.ErrAbortHandler)
		case "/exit":
			runtime.Goexit()
		case "/hold":
			w.(http.Flusher).Flush()
			<-over
		}
	}), Options{MaxStreams: atOnce, StreamWindow: 1 << 10, ConnWindow: 1 << 20})
	p := connect(t, s.Listener.Addr())
	p.ask(1, "GET", "/server")
	workers := &(<-served).workers
	wait := func(n int) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			workers.mu.Lock()
			idle := len(workers.idle)
			workers.mu.Unlock()
			if idle == n {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d workers wait, not %d", idle, n)
			}
		}
	}
	wait(1)
	stream := uint32(3)
	for _, step := range []struct {
		path string
		left int // who wait afterwards
	}{{"/", 1}, {"/panic", 1}, {"/exit", 0}, {"/", 1}} {
		p.ask(stream, "GET", step.path)
		until(p, func(f http2.Frame) bool { return f.Header().StreamID == stream })
		wait(step.left)
		stream += 2
	}
	for range atOnce {
		p.ask(stream, "GET", "/hold")
		until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == stream })
		stream += 2
	}
	wait(0)
	close(over)
	wait(idleWorkers)
	workers.sweep() // some have worked since there was one
	workers.sweep()
	wait(0)
	p.ask(stream, "GET", "/")
	until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == stream })
	wait(1)
	wait(0) // by and by
}
