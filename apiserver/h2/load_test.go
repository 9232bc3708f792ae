package h2

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// An absorbed handler has no eyes for its client, as one that encodes something large.
type absorbed struct {
	running, most, served atomic.Int32
	over                  chan struct{}
}

func (a *absorbed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.served.Add(1)
	now := a.running.Add(1)
	defer a.running.Add(-1)
	for most := a.most.Load(); now > most && !a.most.CompareAndSwap(most, now); most = a.most.Load() {
	}
	switch r.URL.Path {
	case "/known":
		w.(Shared).Connection().Trust()
	case "/absorbed":
		<-a.over
	case "/hold":
		<-r.Context().Done()
	}
}

// eventually waits until what is to be so is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not so: ", what)
		}
	}
}

// loadOf returns a copy of a connection's load.
func loadOf(c *conn) load {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load
}

// TestRapidReset: of a client that opens and resets streams no more handlers run in vain because it is known, and others of
// its requests are served.
func TestRapidReset(t *testing.T) {
	const few, many = 4, 100
	a := &absorbed{over: make(chan struct{})}
	s := startWith(t, a, Options{MaxStreams: few, TrustedStreams: many, StreamWindow: 1 << 10, ConnWindow: 1 << 20})
	p := connect(t, s.Listener.Addr())
	p.ask(1, "GET", "/known")
	until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == 1 })
	id := uint32(3)
	for range 4 * few {
		p.ask(id, "GET", "/absorbed")
		_ = p.WriteRSTStream(id, http2.ErrCodeCancel)
		id += 2
	}
	p.echo(1)
	if most := a.most.Load(); most > few {
		t.Errorf("%d handlers run for streams that are no more", most)
	}
	p.ask(id, "GET", "/")
	p.echo(2)
	close(a.over)
	until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == id })
	eventually(t, "no handler is left", func() bool { return a.running.Load() == 0 })
	if n := a.served.Load(); n > few+2 {
		t.Errorf("%d requests had handlers, most of which were over before", n)
	}
	id += 2
	for range many { // that are waited for
		p.ask(id, "GET", "/hold")
		id += 2
	}
	eventually(t, "as many are served as may be there", func() bool { return a.running.Load() == many })
}

// TestCalm: a client that goes on with that has to leave.
func TestCalm(t *testing.T) {
	const few, many = 4, 100
	a := &absorbed{over: make(chan struct{})}
	defer close(a.over)
	s := startWith(t, a, Options{MaxStreams: few, TrustedStreams: many, StreamWindow: 1 << 10, ConnWindow: 1 << 20})
	p := connect(t, s.Listener.Addr())
	p.ask(1, "GET", "/known")
	until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == 1 })
	for i := range uint32(6 * few) {
		p.ask(2*i+3, "GET", "/absorbed")
		_ = p.WriteRSTStream(2*i+3, http2.ErrCodeCancel)
	}
	if code := p.ends(); code != http2.ErrCodeEnhanceYourCalm {
		t.Error(code)
	}
}

// TestHeads: what requests' fields may hold of a connection is bounded, and given back.
func TestHeads(t *testing.T) {
	const room = 100_000
	var c atomic.Pointer[conn]
	s := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.Store(w.(Shared).Connection().(*conn))
		w.(http.Flusher).Flush()
		if r.URL.Path == "/hold" {
			<-r.Context().Done()
		}
	}), Options{MaxStreams: 100, StreamWindow: 1 << 10, ConnWindow: room})
	p := connect(t, s.Listener.Addr())
	const size = room / 4
	large := []string{"a", strings.Repeat("x", 1000)}
	for range size / 1000 {
		large = append(large, large[0], large[1])
	}
	answered := func(id uint32, path string, more ...string) {
		t.Helper()
		p.ask(id, "GET", path, more...)
		until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == id })
	}
	for id := uint32(1); id <= 5; id += 2 {
		answered(id, "/hold", large...)
	}
	p.ask(7, "GET", "/hold", large...)
	if f := until(p, func(f *http2.RSTStreamFrame) bool { return f.StreamID == 7 }); f.ErrCode != http2.ErrCodeRefusedStream {
		t.Error(f.ErrCode)
	}
	answered(9, "/") // which has few
	_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
	eventually(t, "a handler has ended", func() bool { return loadOf(c.Load()).running == 2 })
	answered(11, "/hold", large...)
	for id := uint32(3); id <= 11; id += 2 {
		_ = p.WriteRSTStream(id, http2.ErrCodeCancel)
	}
	eventually(t, "nothing is held", func() bool { l := loadOf(c.Load()); return l.running == 0 && l.heads == 0 && l.deserted == 0 })
	for range 3 {
		large = append(large, large...)
	}
	answered(13, "/", large...) // more than all may have, but alone
}
