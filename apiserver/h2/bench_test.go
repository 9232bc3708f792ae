package h2

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// BenchmarkRequests answers small requests, and BenchmarkEvents sends small events to many streams, beside x/net's server in
// the same run. The time includes the client, which is the same for both.
func BenchmarkRequests(b *testing.B) {
	bothServers(b, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(make([]byte, 1000))
	}, func(b *testing.B, get func() io.ReadCloser) {
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				body := get()
				_, _ = io.Copy(io.Discard, body)
				body.Close()
			}
		})
	})
}

func BenchmarkEvents(b *testing.B) {
	const watchers = 50
	var mu sync.Mutex
	published := 0
	changed := sync.NewCond(&mu)
	wakeAll := func() {
		mu.Lock()
		defer mu.Unlock()
		changed.Broadcast()
	}
	bothServers(b, func(w http.ResponseWriter, r *http.Request) {
		defer context.AfterFunc(r.Context(), wakeAll)()
		mu.Lock()
		seen := published
		mu.Unlock()
		w.(http.Flusher).Flush()
		for event := make([]byte, 1000); ; seen++ {
			mu.Lock()
			for published == seen && r.Context().Err() == nil {
				changed.Wait()
			}
			mu.Unlock()
			if _, err := w.Write(event); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}, func(b *testing.B, get func() io.ReadCloser) {
		got := make(chan struct{}, watchers)
		for range watchers {
			body := get()
			defer body.Close()
			go func() {
				for event := make([]byte, 1000); ; got <- struct{}{} {
					if _, err := io.ReadFull(body, event); err != nil {
						return
					}
				}
			}()
		}
		b.ResetTimer()
		for range b.N {
			mu.Lock()
			published++
			mu.Unlock()
			wakeAll()
			for range watchers {
				<-got
			}
		}
		b.StopTimer()
	})
}

func bothServers(b *testing.B, h http.HandlerFunc, load func(*testing.B, func() io.ReadCloser)) {
	for _, name := range []string{"server=x-net", "server=clipper"} {
		b.Run(name, func(b *testing.B) {
			s := start(b, h, name == "server=clipper")
			tr := &http2.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // #nosec G402 -- a test server
			defer tr.CloseIdleConnections()
			load(b, func() io.ReadCloser {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.URL, nil)
				if err != nil {
					b.Fatal(err)
				}
				res, err := tr.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				return res.Body
			})
		})
	}
}
