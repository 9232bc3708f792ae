package server

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/moby/spdystream/spdy"
)

// upgrade asks for streams, in SPDY.
func (b *bench) upgrade(t *testing.T, path, protocol string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: n\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: "+protocol+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp, err)
	}
	return conn
}

// TestStreamsEnd: whatever streams a client opens, and however it goes, nothing of it stays.
func TestStreamsEnd(t *testing.T) {
	of := func(kind string) http.Header { return http.Header{"Streamtype": {kind}, "Port": {"80"}} }
	for _, tt := range []struct {
		name, path, protocol string
		opens                []http.Header
		headers              bool // sends more of them later
		rude                 bool // goes without a word
	}{
		{"exec", "/exec/ns/p/c?command=true&output=1", "v4.channel.k8s.io", []http.Header{of("error"), of("stdout")}, false, false},
		{"exec, too many", "/exec/ns/p/c?command=true&output=1", "v4.channel.k8s.io", []http.Header{of("error"), of("stdout"), of("stdin"), of("stderr"), of("resize"), of("x"), of("y")}, false, false},
		{"exec, too many at once gone", "/exec/ns/p/c?command=true&output=1", "v4.channel.k8s.io", []http.Header{of("error"), of("stdout"), of("stdin"), of("stderr"), of("resize"), of("x"), of("y")}, false, true},
		{"exec, no resizing in version 2", "/exec/ns/p/c?command=true&output=1&tty=1", "v2.channel.k8s.io", []http.Header{of("error"), of("stdout"), of("stdout")}, false, true},
		{"exec, headers", "/exec/ns/p/c?command=true&input=1&output=1", "v4.channel.k8s.io", []http.Header{of("error"), of("stdout"), of("stdin")}, true, true},
		{"exec, unknown kinds", "/exec/ns/p/c?command=true&output=1", "v4.channel.k8s.io", []http.Header{of("error"), of("stdout"), of("x"), of("y")}, false, true},
		{"forward, and gone", "/portForward/ns/p", "portforward.k8s.io", []http.Header{of("error"), of("data"), of("error"), of("data"), of("error"), of("data"), of("error"), of("data"), of("error"), of("data")}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			before := runtime.NumGoroutine()
			for range 5 {
				b.flood(t, tt.path, tt.protocol, tt.opens, tt.headers, tt.rude)
			}
			// The library waits half a minute for the other one of a pair of streams.
			for end := time.Now().Add(2 * streamCreation); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					buf := make([]byte, 64<<10)
					t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
				}
			}
		})
	}
}

// flood opens streams, and leaves.
func (b *bench) flood(t *testing.T, path, protocol string, opens []http.Header, headers, rude bool) {
	conn := b.upgrade(t, path, protocol)
	defer conn.Close()
	framer, err := spdy.NewFramer(conn, conn)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range opens {
		id := spdy.StreamId(2*i + 1)
		if framer.WriteFrame(&spdy.SynStreamFrame{StreamId: id, Headers: h}) != nil {
			return // turned away
		}
	}
	if headers && framer.WriteFrame(&spdy.HeadersFrame{StreamId: 1, Headers: http.Header{"A": {"b"}}}) != nil {
		return
	}
	if rude {
		return
	}
	_ = framer.WriteFrame(&spdy.GoAwayFrame{}) // it may be gone already
	_, _ = io.Copy(io.Discard, conn)
}
