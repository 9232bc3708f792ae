package daemon

import (
	"context"
	"runtime"
	"slices"
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

// TestCleanMappings: neither what may be written, nor what a linker has written, nor other files.
func TestCleanMappings(t *testing.T) {
	const smaps = `00400000-02000000 r-xp 00000000 fe:00 7 /bin/clipper
Rss:                 100 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
02000000-03000000 r--p 01c00000 fe:00 7 /bin/clipper
Anonymous:             0 kB
03000000-03001000 r--p 02c00000 fe:00 7 /bin/clipper
Anonymous:             4 kB
03001000-03002000 rw-p 02c01000 fe:00 7 /bin/clipper
Anonymous:             0 kB
c000000000-c000400000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 8 /lib/libc.so
Anonymous:             0 kB
`
	got, err := cleanMappings(smaps, "/bin/clipper")
	want := []mapping{{0x400000, 0x2000000, true}, {0x2000000, 0x3000000, false}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := cleanMappings("x-y r-xp 0 0 0 /bin/clipper\n", "/bin/clipper"); err == nil {
		t.Error("nonsense is taken")
	}
}
