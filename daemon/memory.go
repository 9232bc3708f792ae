package daemon

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long after the start a process gives back what only the start needed.
const settle = 20 * time.Second

// The heap may grow by quietGrowth percent between two collections. A busy process, one that allocates
// busyRate bytes a second, may also grow by busyGrowth bytes: a small heap that fills twice a second would
// spend its time collecting. When it is quiet again, the collection that Go makes every two minutes ends that.
const (
	quietGrowth = 50
	busyGrowth  = 32 << 20
	busyRate    = 4 << 20
	// startGrowth is for the time when a server loads its state: most of what it makes then stays, so that a collection
	// finds next to nothing.
	startGrowth = 200
	// maxGrowth bounds what little a tiny heap's share would be worth.
	maxGrowth = 400
)

// tuneMemory trades processor time for memory where there is time: the live heap is a few megabytes, so
// collecting at half of Go's usual growth costs little. After each collection it looks again, until ctx ends.
func tuneMemory(ctx context.Context) {
	debug.SetGCPercent(quietGrowth)
	p := &pace{at: time.Now(), growth: quietGrowth}
	afterCollection(ctx, func() {
		stats := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
		metrics.Read(stats)
		before := p.growth
		if p.collected(time.Now(), stats[0].Value.Uint64(), stats[1].Value.Uint64()); p.growth != before {
			debug.SetGCPercent(p.growth)
		}
	})
}

// afterCollection calls fn after each garbage collection until ctx ends.
func afterCollection(ctx context.Context, fn func()) {
	type sentinel struct{ self *sentinel } // a pointer, so that it is an allocation of its own
	runtime.AddCleanup(&sentinel{}, func(ctx context.Context) {
		if ctx.Err() == nil {
			fn()
			afterCollection(ctx, fn)
		}
	}, ctx)
}

// A pace is how far the heap may grow, decided at each collection.
type pace struct {
	at        time.Time
	allocated uint64 // bytes since the start, at that time
	growth    int    // percent
}

func (p *pace) collected(now time.Time, allocated, live uint64) {
	took, made := now.Sub(p.at), allocated-p.allocated
	p.at, p.allocated, p.growth = now, allocated, quietGrowth
	if busy := float64(made) > busyRate*took.Seconds(); busy && live > 0 {
		p.growth = min(max(quietGrowth, int(100*busyGrowth/live)), maxGrowth)
	}
}

// releaseStartup gives memory back to the system once the start is over: garbage of the start, and pages
// of the program's file that only the start touched. The kernel reads a page again if it is needed.
func releaseStartup(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(settle):
	}
	debug.FreeOSMemory()
	return dropProgramPages()
}

// dropProgramPages unmaps the clean pages of this program's file from the process; they stay in the page
// cache. Go never asks the kernel to, and a start touches most of a large binary once.
func dropProgramPages() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	smaps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return err
	}
	clean, err := cleanMappings(string(smaps), exe)
	if err != nil {
		return err
	}
	for _, m := range clean {
		if !m.code {
			// Tables of types and functions are read here and there. In huge pages, which some kernels use for
			// files without being asked, each look would bring in two megabytes. Code does gain from them.
			_ = madvise(m.start, m.end, unix.MADV_NOHUGEPAGE) // refused by kernels that have none
		}
		if err := madvise(m.start, m.end, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("release program pages: %w", err)
		}
	}
	return nil
}

// A mapping is a part of the program's file in memory.
type mapping struct {
	start, end uint64
	code       bool
}

// cleanMappings finds in /proc/self/smaps what of a file is in memory as it is on disk. What cannot be written need not
// be that: a dynamic linker, which programs with cgo have, fills in addresses before it takes the right to write away,
// and to give such a page back is to lose them.
func cleanMappings(smaps, file string) (clean []mapping, err error) {
	var m *mapping // whose fields are being read; nil if it is none of ours
	for line := range strings.Lines(smaps) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && strings.Contains(f[0], "-"):
			if m = nil; len(f) < 6 || f[5] != file || strings.Contains(f[1], "w") {
				continue
			}
			from, to, _ := strings.Cut(f[0], "-")
			start, err1 := strconv.ParseUint(from, 16, 64)
			end, err2 := strconv.ParseUint(to, 16, 64)
			if err1 != nil || err2 != nil {
				return nil, fmt.Errorf("read /proc/self/smaps: %q", line)
			}
			m = &mapping{start, end, strings.Contains(f[1], "x")}
		case m != nil && len(f) >= 2 && f[0] == "Anonymous:" && f[1] == "0":
			clean = append(clean, *m)
		}
	}
	return clean, nil
}

func madvise(start, end uint64, advice int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), uintptr(advice)); errno != 0 {
		return errno
	}
	return nil
}
