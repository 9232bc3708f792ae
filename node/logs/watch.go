package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// watcher waits for changes in a directory: a log's growth, its rotation.
type watcher struct {
	file *os.File
	stop func() bool
}

func newWatcher(ctx context.Context, dir string) (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch the log: %w", err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE|unix.IN_CLOSE_WRITE); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("watch %s: %w", dir, err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	return &watcher{file: f, stop: context.AfterFunc(ctx, func() { f.Close() })}, nil
}

// recheck is how long to wait at most: a container may end without another word in its log.
const recheck = 500 * time.Millisecond

// wait returns at the next change or after a while; false when ctx has ended.
func (w *watcher) wait(ctx context.Context) bool {
	if err := w.file.SetReadDeadline(time.Now().Add(recheck)); err != nil {
		return ctx.Err() == nil && !errors.Is(err, os.ErrClosed)
	}
	var buf [4096]byte
	_, err := w.file.Read(buf[:])
	return err == nil || (errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil)
}

func (w *watcher) close() {
	w.stop()
	w.file.Close()
}
