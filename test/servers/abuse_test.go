package servers

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// dial connects, as the administrator, for one protocol.
func (v *victim) dial(protocol string) *tls.Conn {
	v.t.Helper()
	config := v.tls.Clone()
	config.NextProtos = []string{protocol}
	c, err := tls.Dial("tcp", v.addr, config)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

func (v *victim) plain() net.Conn {
	v.t.Helper()
	c, err := net.Dial("tcp", v.addr)
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// A cost is what a server is using: memory is what is still needed after a garbage collection.
type cost struct{ goroutines, memory int }

var figures = regexp.MustCompile(`(?m)^(go_goroutines|go_memstats_heap_inuse_bytes) (\S+)$`)

func (v *victim) cost() (c cost) {
	v.t.Helper()
	v.get("/debug/pprof/heap?gc=1")
	for _, m := range figures.FindAllStringSubmatch(v.get("/metrics"), -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			v.t.Fatal(err)
		}
		if m[1] == "go_goroutines" {
			c.goroutines = int(n)
		} else {
			c.memory = int(n) >> 20
		}
	}
	if c.goroutines == 0 || c.memory == 0 {
		v.t.Fatal("/metrics does not tell what the server uses")
	}
	return c
}

func (v *victim) get(path string) string {
	v.t.Helper()
	res, body, err := v.fire(shot{method: "GET", path: path})
	if err != nil || res.StatusCode != http.StatusOK {
		v.t.Fatalf("%s: %v %.200s", path, err, body)
	}
	return string(body)
}

// recovers waits until the server needs no more than before, up to a little that comes and goes.
func (v *victim) recovers(before cost) {
	v.t.Helper()
	most := cost{
		goroutines: before.goroutines + 15,
		memory:     before.memory + 64, // buffers that are kept for the next requests, encodings of objects
	}
	now := v.cost()
	for deadline := time.Now().Add(30 * time.Second); now.goroutines > most.goroutines || now.memory > most.memory; now = v.cost() {
		if time.Now().After(deadline) {
			v.t.Errorf("before the attack %d goroutines and %d MB, after it %d and %d", before.goroutines, before.memory, now.goroutines, now.memory)
			break
		}
		time.Sleep(100 * time.Millisecond) // it is another process: there is nothing to wait on
	}
	v.t.Logf("goroutines %d -> %d, memory %d -> %d MB, at most %d MB resident", before.goroutines, now.goroutines, before.memory, now.memory, v.kilobytes("VmHWM")>>10)
}

// TestAbusedConnections: what clients do to connections costs nothing lasting, and the server stays up.
func TestAbusedConnections(t *testing.T) {
	v := newVictim(t, "--request-timeout=3s")
	v.fill(40)
	for _, tt := range []struct {
		name  string
		abuse func(t *testing.T, v *victim)
	}{
		{"idle connections", idleConnections},
		{"handshakes that stop", stoppedHandshakes},
		{"headers that never end", endlessHeaders},
		{"bodies that never end", endlessBodies},
		{"lists that nobody reads", unreadLists},
		{"watches that nobody reads", unreadWatches},
		{"half-closed watches", halfClosedWatches},
		{"many watches that vanish", vanishingWatches},
		{"streams that are reset", resetStreams},
		{"headers in endless frames", endlessContinuation},
		{"settings and pings", controlFlood},
		{"windows that overflow", overflowingWindows},
		{"windows of nothing", closedWindows},
		{"requests that are cancelled", cancelledRequests},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v.t = t
			before := v.cost()
			v.forgetPeak()
			start := time.Now()
			tt.abuse(t, v)
			v.recovers(before)
			t.Log("took", time.Since(start).Round(time.Millisecond))
		})
	}
}

// fill makes config maps of a tenth of a megabyte.
func (v *victim) fill(n int) {
	v.t.Helper()
	for i := range n {
		res, body, err := v.fire(shot{method: "POST", path: maps, header: kind(jsonT),
			body: text(fmt.Sprintf(`{"metadata":{"name":"large-%d"},"data":{"a":%q}}`, i, strings.Repeat("x", 100_000)))})
		if err != nil || res.StatusCode != http.StatusCreated {
			v.t.Fatalf("%v %.200s", err, body)
		}
	}
}

func idleConnections(t *testing.T, v *victim) {
	before := v.kilobytes("VmRSS")
	conns := make([]*tls.Conn, 2000)
	for i := range conns {
		conns[i] = v.dial([]string{"http/1.1", "h2"}[i%2])
	}
	t.Logf("%d KB for each", (v.kilobytes("VmRSS")-before)/len(conns))
	for _, c := range conns {
		c.Close()
	}
}

func stoppedHandshakes(t *testing.T, v *victim) {
	for range 200 {
		c := v.plain()
		defer c.Close()
		_, _ = c.Write([]byte{0x16, 3, 1, 2, 0, 1}) // the first bytes of a ClientHello
	}
	if res, _, err := v.fire(shot{method: "GET", path: "/readyz"}); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("meanwhile: %v", err)
	}
}

// ends reads until the server closes the connection, for at most a time.
func ends(t *testing.T, c io.Reader, within time.Duration) []byte {
	t.Helper()
	if d, ok := c.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Now().Add(within))
	}
	got, err := io.ReadAll(c)
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the server has not closed the connection within %v; it said %.300q", within, got)
	}
	return got
}

func endlessHeaders(t *testing.T, v *victim) {
	c := v.dial("http/1.1")
	defer c.Close()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
	line := []byte("X-Long: " + strings.Repeat("a", 8000) + "\r\n")
	for range 400 {
		if _, err := c.Write(line); err != nil {
			break
		}
	}
	if got := ends(t, c, 20*time.Second); len(got) > 0 && !bytes.Contains(got, []byte("431 Request Header Fields Too Large")) {
		t.Errorf("%.200q", got)
	}
}

func endlessBodies(t *testing.T, v *victim) {
	for name, head := range map[string]string{
		"announced": "Content-Length: 100000\r\n\r\n{",
		"chunked":   "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
	} {
		c := v.dial("http/1.1")
		defer c.Close()
		_, _ = io.WriteString(c, "POST "+maps+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+head)
		if got := ends(t, c, 20*time.Second); !bytes.Contains(got, []byte("Timeout: request did not complete within the allotted timeout")) {
			t.Errorf("%s: %.400q", name, got)
		}
	}
	// One that comes fast, without an end, is refused when it is too large.
	c := v.dial("http/1.1")
	defer c.Close()
	_, _ = io.WriteString(c, "POST "+maps+" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
	chunk := []byte("10000\r\n" + strings.Repeat(" ", 0x10000) + "\r\n")
	for range 200 {
		if _, err := c.Write(chunk); err != nil {
			break
		}
	}
	if got := ends(t, c, 20*time.Second); len(got) > 0 && !bytes.Contains(got, []byte("Request entity too large: limit is 3145728")) {
		t.Errorf("endless chunks: %.300q", got) // nothing, if the connection was reset first
	}
}

// unreadLists leaves its connections open until the server must have cut them.
func unreadLists(t *testing.T, v *victim) {
	for range 20 {
		c := v.dial("http/1.1")
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, "GET "+maps+" HTTP/1.1\r\nHost: x\r\n\r\n")
	}
}

func unreadWatches(_ *testing.T, v *victim) { // until they leave: a watch may be quiet for a minute
	var conns []*tls.Conn
	for range 20 {
		c := v.dial("http/1.1")
		conns = append(conns, c)
		_, _ = io.WriteString(c, "GET "+maps+"?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	time.Sleep(time.Second)
	for _, c := range conns {
		c.Close()
	}
}

func halfClosedWatches(t *testing.T, v *victim) {
	c := v.dial("http/1.1")
	defer c.Close()
	_, _ = io.WriteString(c, "GET "+maps+"?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := bufio.NewReaderSize(c, 16).Peek(1); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ends(t, c, 10*time.Second)
}

func vanishingWatches(t *testing.T, v *victim) {
	before := v.kilobytes("VmRSS")
	const n = 3000
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	var opened sync.WaitGroup
	opened.Add(n)
	limit := make(chan struct{}, 64)
	for range n {
		group.Go(func() {
			limit <- struct{}{}
			r, err := http.NewRequestWithContext(ctx, "GET", "https://"+v.addr+"/api/v1/namespaces/none/configmaps?watch=1", nil)
			if err != nil {
				t.Error(err)
			}
			client := http.Client{Transport: v.client.Transport}
			res, err := client.Do(r)
			<-limit
			opened.Done()
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			_, _ = io.Copy(io.Discard, res.Body)
		})
	}
	opened.Wait()
	t.Logf("%d KB for each watch", (v.kilobytes("VmRSS")-before)/n)
	cancel()
	group.Wait()
	v.client.CloseIdleConnections() // a hundred watches had one each
}

// A framed connection speaks HTTP/2 frame by frame.
type framed struct {
	*tls.Conn
	*http2.Framer
	block bytes.Buffer
	pack  *hpack.Encoder
}

func (v *victim) frames() *framed {
	v.t.Helper()
	f := &framed{Conn: v.dial("h2")}
	f.Framer = http2.NewFramer(f.Conn, f.Conn)
	f.pack = hpack.NewEncoder(&f.block)
	_, _ = io.WriteString(f.Conn, http2.ClientPreface)
	_ = f.WriteSettings()
	return f
}

func (f *framed) headers(method, path string) []byte {
	f.block.Reset()
	for _, h := range [][2]string{{":method", method}, {":scheme", "https"}, {":authority", "x"}, {":path", path}} {
		_ = f.pack.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
	}
	return f.block.Bytes()
}

func (f *framed) request(stream uint32, path string) error {
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: f.headers("GET", path), EndStream: true, EndHeaders: true})
}

// goneAway reads until the server ends the connection, and returns why.
func (f *framed) goneAway(within time.Duration) (http2.ErrCode, string) {
	_ = f.SetReadDeadline(time.Now().Add(within))
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return 0, err.Error()
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok && away.ErrCode != http2.ErrCodeNo {
			return away.ErrCode, string(away.DebugData())
		}
	}
}

// drain reads all frames, in the background.
func (f *framed) drain() { go func() { _, _ = io.Copy(io.Discard, f.Conn) }() }

func resetStreams(t *testing.T, v *victim) {
	f := v.frames()
	defer f.Close()
	f.drain()
	sent := 0
	for stream := uint32(1); stream < 200_000; stream += 2 {
		if f.request(stream, maps) != nil || f.WriteRSTStream(stream, http2.ErrCodeCancel) != nil {
			break
		}
		sent++
	}
	t.Logf("%d streams", sent)
}

func endlessContinuation(t *testing.T, v *victim) {
	f := v.frames()
	defer f.Close()
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.headers("GET", "/"), EndStream: true})
	sent := 0
	for range 20_000 {
		f.block.Reset()
		_ = f.pack.WriteField(hpack.HeaderField{Name: "x-a", Value: strings.Repeat("b", 8000), Sensitive: true})
		if f.WriteContinuation(1, false, f.block.Bytes()) != nil {
			break
		}
		sent++
	}
	code, why := f.goneAway(10 * time.Second)
	t.Logf("%d frames; %v %s", sent, code, why)
	if sent == 20_000 {
		t.Error("the server reads headers without an end")
	}
}

func controlFlood(t *testing.T, v *victim) {
	f := v.frames()
	defer f.Close()
	sent := 0
	_ = f.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for range 100_000 { // its answers are not read
		if f.WritePing(false, [8]byte{1}) != nil || f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}) != nil {
			break
		}
		sent++
	}
	t.Logf("%d rounds", sent)
}

func overflowingWindows(t *testing.T, v *victim) {
	f := v.frames()
	defer f.Close()
	_ = f.request(1, maps+"?watch=1")
	_ = f.WriteWindowUpdate(0, 1<<31-1)
	_ = f.WriteWindowUpdate(0, 1<<31-1)
	if code, why := f.goneAway(10 * time.Second); code != http2.ErrCodeFlowControl {
		t.Errorf("%v %s", code, why)
	}
}

// closedWindows leaves its connection open until the server must have ended the streams.
func closedWindows(t *testing.T, v *victim) {
	f := v.frames()
	t.Cleanup(func() { f.Close() })
	_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for i := range uint32(50) {
		_ = f.request(2*i+1, maps)
	}
	f.drain()
}

func cancelledRequests(t *testing.T, v *victim) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 100 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*100*time.Microsecond)
				r, err := http.NewRequestWithContext(ctx, "GET", "https://"+v.addr+maps, nil)
				if err != nil {
					t.Error(err)
				} else if res, err := v.client.Do(r); err == nil {
					_, _ = io.Copy(io.Discard, res.Body)
					res.Body.Close()
				}
				cancel()
			}
		})
	}
	group.Wait()
}
