package extremes

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// endless answers until nobody listens.
func endless(w http.ResponseWriter, _ *http.Request) {
	for block := make([]byte, 64<<10); ; {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// TestAnswers: an answer without end has one; others are what they are.
func TestAnswers(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/endless", endless)
	mux.HandleFunc("/same", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	mux.HandleFunc("/most", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, leastAnswer)) })
	s := httptest.NewServer(mux)
	defer s.Close()
	client := &http.Client{Transport: BoundAnswers(http.DefaultTransport)}
	for _, tt := range []struct {
		path  string
		asked int
		got   int
		fails bool
	}{
		{"/endless", 0, leastAnswer, true},
		{"/endless", 1 << 20, leastAnswer + 4<<20, true},
		{"/same", 20 << 20, 20 << 20, false},
		{"/same", 0, 0, false},
		{"/most", 0, leastAnswer, false},
	} {
		res, err := client.Post(s.URL+tt.path, "", strings.NewReader(strings.Repeat("x", tt.asked)))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if n != int64(tt.got) || (err != nil) != tt.fails || tt.fails && !strings.Contains(err.Error(), "the answer is longer than") {
			t.Errorf("%s with %d: %d bytes, %v", tt.path, tt.asked, n, err)
		}
		res.Body.Close()
	}
}
