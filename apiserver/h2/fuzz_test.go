package h2

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A recording is a connection on which a client says what it was always going to say, and checks nothing.
type recording struct {
	in *bytes.Reader

	mu  sync.Mutex
	out bytes.Buffer
}

func (r *recording) Read(p []byte) (int, error) { return r.in.Read(p) }

func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (*recording) Close() error                     { return nil }
func (*recording) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recording) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recording) SetDeadline(time.Time) error      { return nil }
func (*recording) SetReadDeadline(time.Time) error  { return nil }
func (*recording) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection: whatever a client says, the server neither fails nor holds on to anything, and what it says itself are frames.
func FuzzConnection(f *testing.F) {
	frames := func(say func(*http2.Framer)) []byte {
		var b bytes.Buffer
		fr := http2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		_ = fr.WriteSettings()
		say(fr)
		return b.Bytes()
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/echo"}, {"content-length", "3"}} {
		_ = e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	ask := func(fr *http2.Framer, id uint32, end bool) {
		_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
	}
	f.Add(frames(func(fr *http2.Framer) { ask(fr, 1, false); _ = fr.WriteData(1, true, []byte("abc")) }))
	f.Add(frames(func(fr *http2.Framer) {
		ask(fr, 1, false)
		ask(fr, 3, false)
		_ = fr.WriteDataPadded(3, true, []byte("abc"), make([]byte, 9))
	}))
	f.Add(frames(func(fr *http2.Framer) {
		ask(fr, 1, false)
		_ = fr.WriteRSTStream(1, 8)
		_ = fr.WriteData(1, true, []byte("abc"))
	}))
	f.Add(frames(func(fr *http2.Framer) {
		_ = fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		ask(fr, 1, true)
		_ = fr.WriteWindowUpdate(1, 2)
		_ = fr.WritePing(false, [8]byte{})
		_ = fr.WriteGoAway(0, 0, nil)
		ask(fr, 3, true)
	}))
	f.Add(frames(func(fr *http2.Framer) {
		ask(fr, 1, false)
		ask(fr, 1, true)
		_ = fr.WritePriority(1, http2.PriorityParam{StreamDep: 1})
	}))
	f.Fuzz(func(t *testing.T, said []byte) {
		r := &recording{in: bytes.NewReader(append([]byte(http2.ClientPreface), said...))}
		s := &server{hs: &http.Server{ErrorLog: log.New(io.Discard, "", 0)}, options: Options{MaxStreams: 3, StreamWindow: 1000, ConnWindow: 70_000}, conns: map[*conn]struct{}{}}
		c := newConn(s, r, newWire(r), tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256})
		c.ctx = t.Context()
		c.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, _ := io.Copy(w, r.Body)
			_, _ = w.Write(make([]byte, 5000))
			w.(http.Flusher).Flush()
			w.Header().Set(http.TrailerPrefix+"A", http.StatusText(int(n)))
		})
		c.serve()
		c.mu.Lock()
		open, running := len(c.streams), c.load.running
		c.mu.Unlock()
		if open != 0 {
			t.Errorf("%d streams are left", open)
		}
		for deadline := time.Now().Add(20 * time.Second); running > 0; { // their requests have ended
			if time.Now().After(deadline) {
				t.Fatalf("%d handlers have not ended", running)
			}
			time.Sleep(time.Millisecond)
			c.mu.Lock()
			running = c.load.running
			c.mu.Unlock()
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		back := http2.NewFramer(nil, &r.out)
		back.ReadMetaHeaders = hpack.NewDecoder(tableSize, nil)
		for {
			_, err := back.ReadFrame()
			if err == io.EOF || err == io.ErrUnexpectedEOF { //nolint:errorlint // cut off where the client left
				return
			}
			if err != nil {
				t.Fatalf("the server says what is no frame: %v", err)
			}
		}
	})
}
