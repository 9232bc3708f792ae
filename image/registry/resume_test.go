package registry

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// flaky serves content and breaks off after some bytes of each answer, as long as there are breaks left.
type flaky struct {
	content   []byte
	breaks    int
	after     int
	noRanges  bool
	hang      bool // instead of closing the connection
	refuse    int  // status of answers to ranges
	requests  int
	delivered int
}

func (f *flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.requests++
	from := 0
	if rng := r.Header.Get("Range"); rng != "" && f.refuse != 0 {
		w.WriteHeader(f.refuse)
		return
	} else if rng != "" && !f.noRanges {
		fmt.Sscanf(rng, "bytes=%d-", &from)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(f.content)-1, len(f.content)))
		w.Header().Set("Content-Length", fmt.Sprint(len(f.content)-from))
		w.WriteHeader(http.StatusPartialContent)
	} else {
		w.Header().Set("Content-Length", fmt.Sprint(len(f.content)))
	}
	rest := f.content[from:]
	if f.breaks == 0 {
		w.Write(rest)
		return
	}
	f.breaks--
	w.Write(rest[:min(f.after, len(rest))])
	w.(http.Flusher).Flush()
	if f.hang {
		<-r.Context().Done()
		return
	}
	panic(http.ErrAbortHandler)
}

func TestResume(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 8<<10)
	for _, tc := range []struct {
		name     string
		server   flaky
		fails    string
		requests int
	}{
		{"whole", flaky{}, "", 1},
		{"broken once", flaky{breaks: 1, after: 1000}, "", 2},
		{"broken at once", flaky{breaks: 1, after: 0}, "", 2},
		{"broken often, with progress", flaky{breaks: 20, after: 4096}, "", 21},
		{"no ranges", flaky{breaks: 3, after: 70000, noRanges: true}, "", 4},
		{"hangs", flaky{breaks: 2, after: 50000, hang: true}, "", 3},
		{"broken for good", flaky{breaks: 1 << 20, after: 0}, "could not be taken up again", 6},
		{"ranges refused", flaky{breaks: 1, after: 10, refuse: 416}, "", 3},
		{"gone", flaky{breaks: 1, after: 10, refuse: 404}, "the registry answers 404 Not Found to a request for the rest", 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.server.content = content
			srv := httptest.NewServer(&tc.server)
			defer srv.Close()
			client := &http.Client{Transport: &resuming{next: http.DefaultTransport, stall: 200 * time.Millisecond, pause: time.Microsecond}}
			resp, err := client.Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			switch {
			case tc.fails == "" && (err != nil || !bytes.Equal(got, content)):
				t.Errorf("got %d bytes, %v", len(got), err)
			case tc.fails != "" && (err == nil || !strings.Contains(err.Error(), tc.fails)):
				t.Errorf("got error %v", err)
			}
			if tc.server.requests != tc.requests {
				t.Errorf("%d requests, want %d", tc.server.requests, tc.requests)
			}
		})
	}
}
