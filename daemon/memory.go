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
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[5] != exe || strings.Contains(f[1], "w") {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			return fmt.Errorf("read /proc/self/maps: %q", line)
		}
		if !strings.Contains(f[1], "x") {
			// Tables of types and functions are read here and there. In huge pages, which some kernels use for
			// files without being asked, each look would bring in two megabytes. Code does gain from them.
			_ = madvise(start, end, unix.MADV_NOHUGEPAGE) // refused by kernels that have none
		}
		if err := madvise(start, end, unix.MADV_DONTNEED); err != nil {
			return fmt.Errorf("release program pages: %w", err)
		}
	}
	return nil
}

func madvise(start, end uint64, advice int) error {
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), uintptr(advice)); errno != 0 {
		return errno
	}
	return nil
}
