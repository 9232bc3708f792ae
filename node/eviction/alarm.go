package eviction

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"clipper/node/eviction/threshold"
)

// An Alarm lets the kernel say that memory runs out between two looks at it. Control groups of version 1
// tell when use goes beyond a level, which is set anew at each look; elsewhere, the kernel tells when
// processes wait for memory, if it counts that.
type Alarm struct {
	// Dirs are the version 1 control groups whose use stands for a signal's; empty on version 2.
	Dirs map[threshold.Signal]string

	ring   chan struct{}
	dirs   map[threshold.Signal]string // those of Dirs that can be listened to
	levels map[threshold.Threshold]*os.File
	wg     sync.WaitGroup
}

// pressureFile and pressureTrigger: processes that together wait for a tenth of a second in any one second.
const (
	pressureFile    = "/proc/pressure/memory"
	pressureTrigger = "some 100000 1000000"
)

// start begins to listen; what is heard comes through the channel it returns. The caller ends with stop.
func (a *Alarm) start(ctx context.Context) <-chan struct{} {
	a.ring, a.dirs, a.levels = make(chan struct{}, 1), maps.Clone(a.Dirs), map[threshold.Threshold]*os.File{}
	if len(a.Dirs) > 0 {
		return a.ring
	}
	f, err := os.OpenFile(pressureFile, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return a.ring // no such figures on this kernel: looking from time to time has to do
	}
	if _, err := f.WriteString(pressureTrigger + "\x00"); err != nil {
		slog.Info("The kernel does not tell of memory pressure; it will be looked for", "err", errors.Join(err, f.Close()))
		return a.ring
	}
	a.wg.Go(func() {
		defer f.Close()
		a.listen(ctx, f)
	})
	return a.ring
}

func (a *Alarm) wake() {
	select {
	case a.ring <- struct{}{}:
	default:
	}
}

// listen waits for the trigger to fire. Go's own poller does not know of such events.
func (a *Alarm) listen(ctx context.Context, f *os.File) {
	stop, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		slog.Info("Memory pressure will be looked for", "err", err)
		return
	}
	defer unix.Close(stop)
	cancel := context.AfterFunc(ctx, func() { _, _ = unix.Write(stop, []byte{1, 0, 0, 0, 0, 0, 0, 0}) })
	defer cancel()
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}, {Fd: int32(stop), Events: unix.POLLIN}}
	for ctx.Err() == nil {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || fds[0].Revents&unix.POLLERR != 0:
			return
		case fds[0].Revents&unix.POLLPRI != 0:
			a.wake()
		}
	}
}

// arm sets the levels for what was just observed.
func (a *Alarm) arm(thresholds []threshold.Threshold, o Observations) {
	for _, t := range thresholds {
		dir, ob := a.dirs[t.Signal], o[t.Signal]
		if dir == "" {
			continue
		}
		want := t.Value.Of(ob.Capacity)
		left := ob.Available.Value() - want.Value()
		if old := a.levels[t]; old != nil {
			old.Close()
			delete(a.levels, t)
		}
		if left <= 0 {
			continue // crossed already
		}
		f, err := level(dir, left)
		if err != nil {
			slog.Info("Memory pressure will be looked for", "cgroup", dir, "err", err)
			delete(a.dirs, t.Signal)
			continue
		}
		a.levels[t] = f
		a.wg.Go(func() {
			var count [8]byte
			for {
				if _, err := f.Read(count[:]); err != nil {
					return // closed
				}
				a.wake()
			}
		})
	}
}

// level returns a file that becomes readable when the control group uses more bytes more than now.
func level(dir string, more int64) (*os.File, error) {
	usage, err := os.Open(filepath.Join(dir, "memory.usage_in_bytes"))
	if err != nil {
		return nil, err
	}
	defer usage.Close()
	text := make([]byte, 32)
	n, err := usage.Read(text)
	if err != nil {
		return nil, err
	}
	now, err := strconv.ParseInt(strings.TrimSpace(string(text[:n])), 10, 64)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	control := fmt.Sprintf("%d %d %d", fd, usage.Fd(), now+more)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.event_control"), []byte(control), 0); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "memory level of "+dir), nil
}

// stop closes what start and arm have opened and waits for those who read it.
func (a *Alarm) stop() {
	for _, f := range a.levels {
		f.Close()
	}
	a.wg.Wait()
}
