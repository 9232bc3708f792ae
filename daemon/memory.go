package daemon

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle is how long after the start a process gives back what only the start needed.
const settle = 20 * time.Second

// tuneMemory trades processor time for memory: the live heap is a few megabytes, so collecting at half
// of Go's usual growth costs little.
func tuneMemory() { debug.SetGCPercent(50) }

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
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, uintptr(start), uintptr(end-start), unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("release program pages: %w", errno)
		}
	}
	return nil
}
