package h2

import (
	"bytes"
	"errors"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

// TestOffer: what is offered is sent when it is pushed; what the client has no room for is not taken, and holds nobody up.
func TestOffer(t *testing.T) {
	handed := make(chan Shared)
	over := make(chan struct{})
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		handed <- w.(Shared)
		select {
		case <-over:
		case <-r.Context().Done():
		}
	}), true)
	p := connect(t, s.Listener.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
	p.ask(1, "GET", "/")
	first := <-handed
	p.ask(3, "GET", "/")
	second := <-handed
	if first.Connection() != second.Connection() {
		t.Fatal("two streams of a connection are said to be of two")
	}
	offer := func(w Shared, n int, wanted bool) {
		t.Helper()
		if took, err := w.Offer(bytes.Repeat([]byte{byte(n)}, n)); took != wanted || err != nil {
			t.Fatalf("%d bytes: %t, %v", n, took, err)
		}
	}
	offer(first, 600, true)
	offer(first, 600, false)
	offer(first, 400, true)
	offer(second, 900, true)
	first.Connection().Push()
	for _, wanted := range []struct {
		stream uint32
		n      int
	}{{1, 600}, {1, 400}, {3, 900}} {
		f := until(p, func(*http2.DataFrame) bool { return true })
		if f.StreamID != wanted.stream || len(f.Data()) != wanted.n || f.Data()[0] != byte(wanted.n) {
			t.Errorf("stream %d: %d bytes, wanted %+v", f.StreamID, len(f.Data()), wanted)
		}
	}
	_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
	_ = p.WriteWindowUpdate(3, 5000)
	_ = p.WritePing(false, [8]byte{1})
	until(p, func(f *http2.PingFrame) bool { return f.IsAck() }) // what was sent before has been dealt with
	if took, err := first.Offer([]byte("x")); took || err == nil || errors.Is(err, errHandlerDone) {
		t.Errorf("to a stream that the client has reset: %t, %v", took, err)
	}
	offer(second, 5100, true)
	if _, err := second.Write([]byte("not flushed")); err != nil {
		t.Fatal(err)
	}
	offer(second, 1, false)
	close(over)
}

// TestLull: after much has been offered the client's frames may wait for a moment, and not for one more.
func TestLull(t *testing.T) {
	handed := make(chan Shared)
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		handed <- w.(Shared)
		<-r.Context().Done()
	}), true)
	p := connect(t, s.Listener.Addr(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30})
	_ = p.WriteWindowUpdate(0, 1<<30)
	p.ask(1, "GET", "/")
	w := <-handed
	conn := w.Connection().(*conn)
	const n = 3 * lullBytes
	if took, err := w.Offer(make([]byte, n)); !took || err != nil {
		t.Fatal(took, err)
	}
	w.Connection().Push()
	for left := n; left > 0; {
		left -= len(until(p, func(*http2.DataFrame) bool { return true }).Data())
	}
	for i := byte(0); conn.wire.offered.Load() >= lullBytes; i++ { // each frame is read after a lull
		p.echo(i)
	}
	p.echo(100) // which may have come during the last of them
	p.echo(101)
}

// echo waits until the server has dealt with what has been sent to it.
func (p *peer) echo(i byte) {
	p.t.Helper()
	_ = p.WritePing(false, [8]byte{i})
	until(p, func(f *http2.PingFrame) bool { return f.IsAck() && f.Data[0] == i })
}

// TestTrust: a client that is known may have more streams than others.
func TestTrust(t *testing.T) {
	const few, many = 2, 5
	s := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/known" {
			w.(Shared).Connection().Trust()
			w.(Shared).Connection().Trust() // nothing more
			return
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}), Options{MaxStreams: few, TrustedStreams: many, StreamWindow: 1 << 10, ConnWindow: 1 << 20})
	p := connect(t, s.Listener.Addr())
	next := uint32(1)
	open := func(n int) {
		for range n {
			p.ask(next, "GET", "/hold")
			until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == next })
			next += 2
		}
	}
	refused := func() {
		t.Helper()
		p.ask(next, "GET", "/hold")
		if f := until(p, func(f *http2.RSTStreamFrame) bool { return f.StreamID == next }); f.ErrCode != http2.ErrCodeRefusedStream {
			t.Error(f.ErrCode)
		}
		next += 2
	}
	open(few)
	refused()
	_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
	p.ask(next, "GET", "/known")
	told := until(p, func(f *http2.SettingsFrame) bool { return !f.IsAck() })
	if v, _ := told.Value(http2.SettingMaxConcurrentStreams); v != many {
		t.Errorf("told of %d streams", v)
	}
	until(p, func(f *http2.MetaHeadersFrame) bool { return f.StreamID == next })
	next += 2
	open(many - (few - 1))
	refused()
}
