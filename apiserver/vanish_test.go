package apiserver_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

// TestVanishingClients: whoever leaves in the middle of a body, of a list or of a watch leaves nothing behind.
func TestVanishingClients(t *testing.T) {
	s := start(t, servertest.Options{})
	large := fmt.Sprintf(`{"metadata":{"generateName":"big-"},"data":{"a":%q}}`, strings.Repeat("x", 500_000))
	for range 8 {
		if res, body := (call{method: "POST", path: cms, contentType: jsonT, body: large}).do(t, s); res.StatusCode != http.StatusCreated {
			t.Fatalf("%d %.200s", res.StatusCode, body)
		}
	}
	s.HTTPClient().CloseIdleConnections()
	before := runtime.NumGoroutine()
	address := strings.TrimPrefix(s.URL, "https://")
	const head = " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + servertest.AdminToken + "\r\n"
	const upgrade = head + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	for name, request := range map[string]string{
		"half a header": "GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthor",
		"half a body":   "POST " + cms + head + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"metadata\":",
		"half a chunk":  "POST " + cms + head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{",
		"a list":        "GET " + cms + head + "\r\n",
		"a watch":       "GET " + cms + "?watch=1" + head + "\r\n",
		"a web socket":  "GET " + cms + "?watch=1" + upgrade,
	} {
		for range 10 {
			c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, request); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if strings.HasPrefix(name, "a ") { // the answer has begun, and is not read
				if _, err := bufio.NewReaderSize(c, 16).Peek(1); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			c.Close()
		}
	}
	if after := settled(before); after > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after:\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
	}
	if res, body := (call{method: "GET", path: cms + "?limit=1"}).do(t, s); res.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d %.200s", res.StatusCode, body)
	}
}

// settled waits until there are no more than so many goroutines, or for half a minute, and counts them.
func settled(most int) int {
	n := runtime.NumGoroutine()
	for deadline := time.Now().Add(30 * time.Second); n > most && time.Now().Before(deadline); n = runtime.NumGoroutine() {
		time.Sleep(20 * time.Millisecond)
	}
	return n
}

// TestVanishingReaders: what a node goes on saying to a client that has gone ends, on the server and on the node.
func TestVanishingReaders(t *testing.T) {
	speaks := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("x", 1<<10)); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	})
	node := httptest.NewUnstartedServer(speaks)
	node.StartTLS()
	defer node.Close()
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.NodeTLS = &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- a test server on loopback
		o.DialNode = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, node.Listener.Addr().String())
		}
	}})
	podOnNode(t, kubernetes.NewForConfigOrDie(s.Config))
	s.HTTPClient().CloseIdleConnections()
	for name, path := range map[string]string{
		"logs":  "/api/v1/namespaces/default/pods/p/log?follow=true",
		"proxy": "/api/v1/nodes/n/proxy/anything",
	} {
		before := runtime.NumGoroutine()
		for _, protocol := range []string{"http/1.1", "h2"} {
			for range 5 {
				readAndLeave(t, s.URL+path, protocol)
			}
		}
		if after := settled(before + 4); after > before+4 { // connections to the node are kept for the next request
			stacks := make([]byte, 1<<20)
			t.Errorf("%s: %d goroutines before, %d after:\n%s", name, before, after, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// readAndLeave reads the beginning of an answer and is gone.
func readAndLeave(t *testing.T, url, protocol string) {
	t.Helper()
	var conn net.Conn
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, // #nosec G402 -- a test server on loopback
		ForceAttemptHTTP2: protocol == "h2",
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			c, err = new(net.Dialer).DialContext(ctx, network, address)
			conn = c
			return c, err
		},
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	res, err := transport.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %v", url, res, err)
	}
	if _, err := io.ReadFull(res.Body, make([]byte, 100_000)); err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	conn.Close()
	res.Body.Close()
}
