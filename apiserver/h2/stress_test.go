package h2

import (
	"bytes"
	"context"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// A feed offers to all streams of its connections whatever comes, as one that carries watches does.
type feed struct {
	mu    sync.Mutex
	on    map[Connection]map[Shared]bool
	ended sync.WaitGroup
}

func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.(http.Flusher).Flush()
	s := w.(Shared)
	s.Connection().Trust()
	if r.URL.Path != "/watch" {
		return
	}
	c := s.Connection()
	f.mu.Lock()
	if f.on[c] == nil {
		f.on[c] = map[Shared]bool{}
		f.ended.Go(func() { f.carry(c) })
	}
	f.on[c][s] = true
	f.mu.Unlock()
	<-r.Context().Done()
	f.mu.Lock()
	delete(f.on[c], s) // c itself goes with its carrier
	f.mu.Unlock()
}

func (f *feed) carry(c Connection) {
	piece := bytes.Repeat([]byte("e"), 1500)
	for {
		f.mu.Lock()
		var to []Shared
		for s := range f.on[c] {
			to = append(to, s)
		}
		if len(to) == 0 {
			delete(f.on, c)
		}
		f.mu.Unlock()
		if len(to) == 0 {
			return
		}
		for _, s := range to {
			_, _ = s.Offer(piece)
		}
		c.Push()
		time.Sleep(time.Millisecond)
	}
}

// watching says what a client does that has so many watches.
var watching = map[string]func(p *peer, watches uint32){
	"closes without a word": func(p *peer, _ uint32) {
		_ = p.serveUntil(func(f http2.Frame) bool { return f.Header().Type == http2.FrameData })
		_ = p.NetConn().Close()
	},
	"reads nothing": func(*peer, uint32) {},
	"resets": func(p *peer, watches uint32) {
		for id := uint32(1); id <= 2*watches; id += 2 {
			_ = p.WriteRSTStream(id, http2.ErrCodeCancel)
			_ = p.WriteWindowUpdate(id, 1)
		}
		p.echo(1)
	},
	"asks for more": func(p *peer, watches uint32) {
		for id := 2*watches + 1; id < 2*watches+100; id += 2 {
			p.ask(id, "GET", "/")
			if err := p.serveUntil(func(f http2.Frame) bool { return f.Header().StreamID == id }); err != nil {
				p.t.Error(err)
			}
		}
	},
}

// serveUntil reads until it has what is wanted, and lets the server send more.
func (p *peer) serveUntil(wanted func(http2.Frame) bool) error {
	for {
		f, err := p.ReadFrame()
		if err != nil || wanted(f) {
			return err
		}
		if d, ok := f.(*http2.DataFrame); ok && d.Length > 0 {
			_ = p.WriteWindowUpdate(d.StreamID, d.Length)
			_ = p.WriteWindowUpdate(0, d.Length)
		}
	}
}

// TestClientsThatVanish: much is offered to the watches of clients of all kinds. The server ends in time, and nothing is left.
func TestClientsThatVanish(t *testing.T) {
	const each, watches = 3, 30
	before := runtime.NumGoroutine()
	f := &feed{on: map[Connection]map[Shared]bool{}}
	s := startWith(t, f, Options{MaxStreams: watches, TrustedStreams: 2 * watches, StreamWindow: 1 << 16, ConnWindow: 1 << 20, IdleTimeout: time.Minute})
	var clients sync.WaitGroup
	for _, does := range watching {
		for range each {
			clients.Go(func() {
				p := connect(t, s.Listener.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
				for id := uint32(1); id <= 2*watches; id += 2 {
					p.ask(id, "GET", "/watch")
				}
				does(p, watches)
			})
		}
	}
	clients.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.Config.Shutdown(ctx); err == nil {
		t.Error("nobody was busy")
	}
	if err := s.Config.Close(); err != nil {
		t.Error(err)
	}
	f.ended.Wait()
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before+1 })
}
