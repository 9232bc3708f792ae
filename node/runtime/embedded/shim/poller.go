package shim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A watcher is told that its descriptor is ready. It runs on the poller's goroutine: it must not block.
type watcher interface {
	ready(events uint32)
}

// A poller waits for many descriptors with one goroutine and, while idle, no thread: its epoll set is itself
// an entry of the Go runtime's.
type poller struct {
	file *os.File
	conn syscall.RawConn

	mu       sync.Mutex
	watchers map[int32]watcher // by descriptor
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // makes os.NewFile hand it to the runtime's poller
		unix.Close(fd)
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "epoll")
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &poller{file: file, conn: conn, watchers: map[int32]watcher{}}, nil
}

// add starts watching fd, which must stay open until remove.
func (p *poller) add(fd int, events uint32, w watcher) error {
	p.mu.Lock()
	p.watchers[int32(fd)] = w
	p.mu.Unlock()
	err := p.control(unix.EPOLL_CTL_ADD, fd, events)
	if err != nil {
		p.forget(fd)
	}
	return err
}

// modify changes what is waited for. Zero still reports hang-ups, so a reader that pauses is removed instead.
func (p *poller) modify(fd int, events uint32) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, events)
}

// remove stops watching fd. A report that is being delivered may still arrive.
func (p *poller) remove(fd int) {
	_ = p.control(unix.EPOLL_CTL_DEL, fd, 0)
	p.forget(fd)
}

func (p *poller) forget(fd int) {
	p.mu.Lock()
	delete(p.watchers, int32(fd))
	p.mu.Unlock()
}

func (p *poller) control(op, fd int, events uint32) error {
	var err error
	cerr := p.conn.Control(func(epfd uintptr) {
		err = unix.EpollCtl(int(epfd), op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	})
	if err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return cerr
}

// run delivers until ctx ends.
func (p *poller) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { p.file.Close() })
	defer stop()
	var events [64]unix.EpollEvent
	for {
		n := 0
		var werr error
		err := p.conn.Read(func(epfd uintptr) bool {
			n, werr = unix.EpollWait(int(epfd), events[:], 0)
			return n != 0 && !errors.Is(werr, unix.EINTR)
		})
		if ctx.Err() != nil {
			return nil
		}
		if err = errors.Join(err, werr); err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, e := range events[:n] {
			p.mu.Lock()
			w := p.watchers[e.Fd]
			p.mu.Unlock()
			if w != nil {
				w.ready(e.Events)
			}
		}
	}
}
