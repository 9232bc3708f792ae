package daemon

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const mb = 1 << 20
	start := time.Unix(1e9, 0)
	for _, tt := range []struct {
		name       string
		took       time.Duration
		made, live uint64
		want       int
	}{
		{"quiet", 2 * time.Minute, 6 * mb, 12 * mb, 50},
		{"busy and small", time.Second, 60 * mb, 16 * mb, 200},
		{"busy and tiny", time.Second, 60 * mb, 2 * mb, 400},
		{"busy and large", time.Second, 60 * mb, 400 * mb, 50},
		{"a moment after the last", 0, mb, 16 * mb, 200},
		{"nothing lives", time.Second, 60 * mb, 0, 50},
	} {
		p := &pace{at: start, allocated: 5 * mb, growth: 123}
		p.collected(start.Add(tt.took), 5*mb+tt.made, tt.live)
		if p.growth != tt.want {
			t.Errorf("%s: %d%%, want %d%%", tt.name, p.growth, tt.want)
		}
	}
}

// TestAfterCollection: it is called again and again, and no more once the context has ended.
func TestAfterCollection(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan struct{}, 100)
	afterCollection(ctx, func() { called <- struct{}{} })
	for range 3 {
		runtime.GC()
		select {
		case <-called:
		case <-time.After(30 * time.Second):
			t.Fatal("a collection went unnoticed")
		}
	}
	cancel()
}
