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
