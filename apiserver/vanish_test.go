package apiserver_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

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
	for name, request := range map[string]string{
		"half a header": "GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthor",
		"half a body":   "POST " + cms + head + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"metadata\":",
		"half a chunk":  "POST " + cms + head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n{",
		"a list":        "GET " + cms + head + "\r\n",
		"a watch":       "GET " + cms + "?watch=1" + head + "\r\n",
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

// settled waits until there are no more than so many goroutines, or for some seconds, and counts them.
func settled(most int) int {
	n := runtime.NumGoroutine()
	for deadline := time.Now().Add(10 * time.Second); n > most && time.Now().Before(deadline); n = runtime.NumGoroutine() {
		time.Sleep(20 * time.Millisecond)
	}
	return n
}
