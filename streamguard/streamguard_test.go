package streamguard

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/spdystream"
	"github.com/moby/spdystream/spdy"
)

const (
	asked    = "POST /exec HTTP/1.1\r\nHost: n\r\n\r\n"
	answered = "HTTP/1.1 101 Switching Protocols\r\n\r\n"
)

// A wire is a connection whose other side is a script.
type wire struct {
	net.Conn
	in     io.Reader
	broken bool
	closed bool
}

func (w *wire) Read(b []byte) (int, error) { return w.in.Read(b) }
func (w *wire) RemoteAddr() net.Addr       { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 10250} }
func (w *wire) Close() error               { w.closed = true; return nil }

func (w *wire) Write(b []byte) (int, error) {
	if w.broken {
		return 0, errors.New("broken")
	}
	return len(b), nil
}

// encoded is a frame as the library writes it.
func encoded(t testing.TB, frames ...spdy.Frame) []byte {
	var b bytes.Buffer
	for _, f := range frames {
		framer, err := spdy.NewFramer(&b, nil)
		if err == nil {
			err = framer.WriteFrame(f)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// TestReads: what the library waits for comes through whole, in whatever pieces, and nothing of what it does not.
func TestReads(t *testing.T) {
	open := func(id uint32) spdy.Frame {
		return &spdy.SynStreamFrame{StreamId: spdy.StreamId(id), Headers: http.Header{"Streamtype": {"error"}}}
	}
	reply := func(id uint32) spdy.Frame { return &spdy.SynReplyFrame{StreamId: spdy.StreamId(id)} }
	reset := func(id uint32) spdy.Frame {
		return &spdy.RstStreamFrame{StreamId: spdy.StreamId(id), Status: spdy.Cancel}
	}
	data := &spdy.DataFrame{StreamId: 1, Data: bytes.Repeat([]byte("\x80\x03\x00\x01"), 9)}
	for _, tt := range []struct {
		name  string
		sent  []spdy.Frame
		after time.Duration // between them
		got   []spdy.Frame
		ended bool // at the last
	}{
		{"answers", []spdy.Frame{open(1), open(3)}, time.Second, []spdy.Frame{reply(1), data, reset(3), reset(1), &spdy.GoAwayFrame{}}, false},
		{"a reset of what was never opened", []spdy.Frame{open(1)}, 0, []spdy.Frame{reply(1), reset(3)}, true},
		{"a reset that comes too late", []spdy.Frame{open(1)}, time.Minute, []spdy.Frame{reset(1)}, true},
		{"an answer that comes too late", []spdy.Frame{open(1)}, patience, []spdy.Frame{reply(1)}, true},
		{"a stream of the node's", []spdy.Frame{open(1)}, 0, []spdy.Frame{reply(1), open(2)}, true},
	} {
		for _, piece := range []int{1, 7, 1 << 10} {
			now := time.Unix(0, 0)
			said := append([]byte(answered), encoded(t, tt.got...)...)
			w := &wire{in: &pieces{said, piece}}
			c := newConn(w, func() time.Time { return now })
			out := append([]byte(asked), encoded(t, tt.sent...)...)
			for len(out) > 0 {
				n, err := c.Write(out[:min(piece, len(out))])
				if err != nil {
					t.Fatal(err)
				}
				out = out[n:]
			}
			now = now.Add(tt.after)
			got, err := io.ReadAll(c)
			if !tt.ended && (err != nil || !bytes.Equal(got, said)) {
				t.Errorf("%s, by %d: %q %v", tt.name, piece, got, err)
			}
			whole := len(said) - len(encoded(t, tt.got[len(tt.got)-1]))
			if tt.ended && (err == nil || !strings.Contains(err.Error(), "192.0.2.7:10250") || len(got) < whole || len(got) >= len(said) || !w.closed) {
				t.Errorf("%s, by %d: read %d of %d, then %v, closed %t", tt.name, piece, len(got), len(said), err, w.closed)
			}
		}
	}
}

// pieces reads so many bytes at a time.
type pieces struct {
	left []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.n, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

// TestNoUpgrade: an answer without frames is nobody's concern.
func TestNoUpgrade(t *testing.T) {
	said := "HTTP/1.1 404 Not Found\r\n\r\n" + string(encoded(t, &spdy.RstStreamFrame{StreamId: 9, Status: spdy.Cancel}))
	c := New(&wire{in: strings.NewReader(said)})
	if got, err := io.ReadAll(c); err != nil || string(got) != said {
		t.Errorf("%q %v", got, err)
	}
}

// TestBrokenWrite: of a stream that could not be opened there is no answer.
func TestBrokenWrite(t *testing.T) {
	w := &wire{in: strings.NewReader(answered + string(encoded(t, &spdy.RstStreamFrame{StreamId: 1, Status: spdy.Cancel})))}
	c := New(w)
	frame := encoded(t, &spdy.SynStreamFrame{StreamId: 1, Headers: http.Header{"A": {"b"}}})
	if _, err := c.Write(append([]byte(asked), frame[:len(frame)-1]...)); err != nil {
		t.Fatal(err)
	}
	w.broken = true
	if _, err := c.Write(frame[len(frame)-1:]); err == nil {
		t.Fatal("written")
	}
	if _, err := io.ReadAll(c); err == nil {
		t.Error("the end of a stream that is none came through")
	}
}

// TestGoroutinesEnd: the library lets go of everything, though a node resets streams when it must not.
func TestGoroutinesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := runtime.NumGoroutine()
		server, client := net.Pipe()
		go func() {
			defer server.Close()
			_, _ = io.CopyN(io.Discard, server, int64(len(asked)))
			_, _ = io.WriteString(server, answered)
			go func() { _, _ = io.Copy(io.Discard, server) }()
			time.Sleep(time.Minute) // the stream has been given up by now
			_, _ = server.Write(encoded(t, &spdy.RstStreamFrame{StreamId: 1, Status: spdy.Cancel}))
			time.Sleep(time.Minute)
		}()
		c := New(client)
		if _, err := io.WriteString(c, asked); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, len(answered))); err != nil {
			t.Fatal(err)
		}
		session, err := spdystream.NewConnection(c, false)
		if err != nil {
			t.Fatal(err)
		}
		go session.Serve(spdystream.NoOpStreamHandler)
		stream, err := session.CreateStream(http.Header{}, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.WaitTimeout(30 * time.Second); !errors.Is(err, spdystream.ErrTimeout) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		_ = session.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := runtime.NumGoroutine(); n > before {
			buf := make([]byte, 64<<10)
			t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
		}
	})
}

// FuzzReads: whatever a node sends, what comes through is where it begins, and its streams are not the library's.
func FuzzReads(f *testing.F) {
	f.Add(encoded(f, &spdy.SynReplyFrame{StreamId: 1}, &spdy.DataFrame{StreamId: 1, Data: []byte("x")}), uint8(3))
	f.Add(encoded(f, &spdy.RstStreamFrame{StreamId: 5, Status: spdy.Cancel}), uint8(1))
	f.Fuzz(func(t *testing.T, sent []byte, piece uint8) {
		said := append([]byte(answered), sent...)
		c := New(&wire{in: &pieces{said, int(piece) + 1}})
		got, err := io.ReadAll(c)
		if !bytes.HasPrefix(said, got) || err == nil && len(got) != len(said) {
			t.Fatalf("%q of %q: %v", got, said, err)
		}
		framer, err := spdy.NewFramer(io.Discard, bytes.NewReader(got[len(answered):]))
		if err != nil {
			t.Fatal(err)
		}
		for {
			frame, err := framer.ReadFrame()
			switch frame.(type) {
			case *spdy.SynStreamFrame, *spdy.SynReplyFrame, *spdy.RstStreamFrame:
				t.Fatalf("%#v came through, though no stream was opened", frame)
			}
			if err != nil {
				return
			}
		}
	})
}
