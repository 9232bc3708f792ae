package apiserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/spdystream/spdy"
	"k8s.io/client-go/kubernetes"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

// streamQuiet is how long a client of the fuzzer waits for more, streamCreation what the node allows for opening streams: it
// waits so long though the client has gone.
const streamQuiet, streamCreation = 5 * time.Millisecond, 10 * time.Second

// ways are the streams that a client may ask for: all that are passed on, and those that are translated.
var ways = []struct{ path, upgrade, protocols string }{
	{"exec?command=c&stdin=1&stdout=1&stderr=1", "websocket", "v5.channel.k8s.io"},
	{"attach?stdin=1&stdout=1&tty=1", "websocket", "v5.channel.k8s.io"},
	{"exec?command=c&stdin=1&stdout=1", "websocket", "v4.channel.k8s.io, base64.channel.k8s.io"},
	{"exec?command=c&stdin=1&stdout=1&tty=1", "websocket", "base64.channel.k8s.io"},
	{"exec?command=c&stdin=1&stdout=1", "SPDY/3.1", ""},
	{"portforward", "websocket", "SPDY/3.1+portforward.k8s.io"},
	{"portforward?ports=80", "websocket", "v4.channel.k8s.io"},
	{"portforward", "SPDY/3.1", ""},
}

// FuzzStreams: whatever a client sends over a stream to a pod, and whenever it goes, neither the server nor a node panics,
// and the server is done with it soon. Goroutines are not counted: the library that translates waits up to half a minute for an
// answer to a stream that it opened, though the connection has gone.
func FuzzStreams(f *testing.F) {
	opening, content := spdySeed(f)
	for way := range uint8(len(ways)) {
		f.Add(way, true, []byte("\x06\x00input\x12\x04{\"Width\":1,\"Height\":2}\x02\xff\x00\x00"))
		f.Add(way, true, []byte("\x01\x00\x03\xff\xff\xff\x02\x07x\x03\x00\x50\x00"))
		f.Add(way, true, append([]byte{byte(len(opening))}, opening...))
		f.Add(way, false, append(bytes.Clone(opening), content...))
		f.Add(way, false, opening[:len(opening)-3])
		f.Add(way, false, []byte("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"))             // a frame without end
		f.Add(way, false, []byte("\x80\x03\x00\x04\x00\xff\xff\xff\xff\xff\xff\xff\x00")) // settings without end
	}
	c := newStreamCaller(f)
	f.Fuzz(func(t *testing.T, way uint8, framed bool, sent []byte) {
		if framed {
			sent = frames(sent)
		}
		c.send(t, int(way)%len(ways), sent)
	})
}

// spdySeed is what a client of port-forward sends to open its two streams, and then some data.
func spdySeed(f *testing.F) (opening, content []byte) {
	var b bytes.Buffer
	framer, err := spdy.NewFramer(&b, nil)
	if err != nil {
		f.Fatal(err)
	}
	for i, kind := range []string{"error", "data"} {
		h := http.Header{"Streamtype": {kind}, "Port": {"80"}, "Requestid": {"0"}}
		if err := framer.WriteFrame(&spdy.SynStreamFrame{StreamId: spdy.StreamId(2*i + 1), Headers: h}); err != nil {
			f.Fatal(err)
		}
	}
	opening = bytes.Clone(b.Bytes())
	b.Reset()
	for _, frame := range []spdy.Frame{&spdy.DataFrame{StreamId: 3, Data: []byte("data")}, &spdy.PingFrame{Id: 1}, &spdy.RstStreamFrame{StreamId: 1, Status: spdy.Cancel},
		&spdy.GoAwayFrame{LastGoodStreamId: 3}, &spdy.WindowUpdateFrame{StreamId: 3, DeltaWindowSize: 1}} {
		if err := framer.WriteFrame(frame); err != nil {
			f.Fatal(err)
		}
	}
	return opening, b.Bytes()
}

// frames makes a client's WebSocket frame of every piece of text, each of which begins with its length.
func frames(text []byte) (out []byte) {
	const binaryFrame, masked, long = 0x82, 0x80, 126
	for len(text) > 0 {
		n := min(int(text[0]), len(text)-1)
		if n < long {
			out = append(out, binaryFrame, masked|byte(n))
		} else {
			out = binary.BigEndian.AppendUint16(append(out, binaryFrame, masked|long), uint16(n))
		}
		out = append(out, 0, 0, 0, 0) // a mask that changes nothing
		out = append(out, text[1:1+n]...)
		text = text[1+n:]
	}
	return out
}

// A streamCaller opens streams to a pod, through a server, on a node in the same process.
type streamCaller struct {
	address  string
	open     atomic.Int64 // requests that the server is busy with
	panicked atomic.Pointer[string]
}

func newStreamCaller(f *testing.F) *streamCaller {
	c := &streamCaller{}
	node := httptest.NewUnstartedServer(http.HandlerFunc(serveStream))
	node.Config.ErrorLog = slog.NewLogLogger(c, slog.LevelError)
	node.StartTLS()
	f.Cleanup(node.Close)
	var options apiserver.Options
	s, err := servertest.Start(f.TempDir(), servertest.Options{Server: func(o *apiserver.Options) {
		o.Log = slog.New(c)
		o.NodeTLS = &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- a test server on loopback
		o.DialNode = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, node.Listener.Addr().String())
		}
		options = *o
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Stop(); err != nil {
			f.Error(err)
		}
	})
	podOnNode(f, kubernetes.NewForConfigOrDie(s.Config))
	server := apiserver.New(options)
	server.SetReady(true)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.open.Add(1)
		defer c.open.Add(-1)
		server.ServeHTTP(w, r)
	}))
	f.Cleanup(front.Close)
	c.address = front.Listener.Addr().String()
	return c
}

// send opens a stream, sends what it is told, hears what comes at once, and goes.
func (c *streamCaller) send(t *testing.T, way int, sent []byte) {
	conn, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := ways[way]
	head := fmt.Sprintf("GET /api/v1/namespaces/default/pods/p/%s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n", w.path, servertest.AdminToken, w.upgrade)
	if w.protocols == "" {
		head = "POST" + strings.TrimPrefix(head, "GET") + "X-Stream-Protocol-Version: v4.channel.k8s.io\r\nX-Stream-Protocol-Version: portforward.k8s.io\r\nContent-Length: 0\r\n\r\n"
	} else {
		head += "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: " + w.protocols + "\r\n\r\n"
	}
	if _, err := io.WriteString(conn, head); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(requestPatience))
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("%s by %s: %d: %s", w.path, w.upgrade, res.StatusCode, body)
	}
	_, _ = conn.Write(sent) // it may have been enough before the end
	_ = conn.SetReadDeadline(time.Now().Add(streamQuiet))
	_, _ = io.CopyN(io.Discard, r, 1<<20)
	conn.Close()
	for until := time.Now().Add(3 * requestPatience); c.open.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s by %s: still busy with a client that has gone", w.path, w.upgrade)
		}
	}
	if p := c.panicked.Load(); p != nil {
		t.Fatal(*p)
	}
}

// serveStream is a node whose containers and ports give back what they get.
func serveStream(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/portForward") {
		o, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, echo{}, "p", "", o, time.Minute, streamCreation, portforward.SupportedProtocols)
		return
	}
	o, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if strings.HasPrefix(r.URL.Path, "/attach") {
		remotecommand.ServeAttach(w, r, echo{}, "p", "", "c", o, time.Minute, streamCreation, remotecommand.SupportedStreamingProtocols)
		return
	}
	remotecommand.ServeExec(w, r, echo{}, "p", "", "c", nil, o, time.Minute, streamCreation, remotecommand.SupportedStreamingProtocols)
}

type echo struct{}

func (echo) ExecInContainer(_ context.Context, _, _, _ string, _ []string, in io.Reader, out, _ io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	_, err := io.Copy(out, in)
	return err
}

func (e echo) AttachContainer(ctx context.Context, name, uid, container string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	return e.ExecInContainer(ctx, name, uid, container, nil, in, out, err, tty, resize, 0)
}

func (echo) PortForward(_ context.Context, _, _ string, _ int32, stream io.ReadWriteCloser) error {
	_, err := io.Copy(stream, stream)
	return err
}

// Enabled, Handle, WithAttrs and WithGroup implement slog.Handler: a server's log is heard for panics.
func (c *streamCaller) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (c *streamCaller) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool { text += " " + a.String(); return true })
	if strings.Contains(text, "panic") {
		c.panicked.Store(&text)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (c *streamCaller) WithAttrs([]slog.Attr) slog.Handler { return c }

// WithGroup implements slog.Handler.
func (c *streamCaller) WithGroup(string) slog.Handler { return c }
