package shim

import (
	"errors"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/crilog"
)

const (
	readSize = 64 << 10 // a pipe's capacity
	// readTurns is how many full reads one container gets before the others have their turn.
	readTurns = 4
)

// readBuffers lends the buffer of one turn: the poller needs one, a draining exit now and then another.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}

// stdio is what the shim holds of a container's standard streams.
type stdio struct {
	poll *poller
	// keep holds stdin's write side under stdinKey, so that the container does not read its end when the shim dies.
	keep     *keeper
	stdinKey string

	mu        sync.Mutex
	log       *crilog.File
	outputs   []*output // stdout and stderr, or the terminal
	stdin     *os.File  // write side, nil if not wanted or closed; the terminal's master for a terminal
	terminal  *os.File
	attached  map[*attachment]struct{}
	logFailed bool // said once
}

// An output is one stream being read.
type output struct {
	io     *stdio
	stream crilog.Stream
	file   *os.File
	fd     int
	paused bool // not in the epoll set: an attached client is slow
	closed bool
}

// watch starts reading f as stream.
func (s *stdio) watch(f *os.File, stream crilog.Stream) error {
	fd := int(f.Fd()) // Fd makes the descriptor blocking again
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	o := &output{io: s, stream: stream, file: f, fd: fd}
	s.mu.Lock()
	s.outputs = append(s.outputs, o)
	s.mu.Unlock()
	return s.poll.add(fd, unix.EPOLLIN, o)
}

// ready reads what there is, up to a fair share.
func (o *output) ready(uint32) {
	o.io.mu.Lock()
	defer o.io.mu.Unlock()
	for range readTurns {
		if !o.readLocked() {
			return
		}
	}
}

// readLocked reads once and reports whether there may be more.
func (o *output) readLocked() bool {
	if o.closed || o.paused {
		return false
	}
	buf := readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buf)
	n, err := unix.Read(o.fd, *buf)
	switch {
	case errors.Is(err, unix.EINTR):
		return true
	case errors.Is(err, unix.EAGAIN):
		return false
	case err != nil || n == 0: // EOF; a terminal whose other side is closed says EIO
		o.closeLocked()
		return false
	}
	o.io.deliverLocked(o, (*buf)[:n])
	return n == len(*buf)
}

func (o *output) closeLocked() {
	if o.closed {
		return
	}
	o.closed = true
	if !o.paused {
		o.io.poll.remove(o.fd)
	}
	if o.file != o.io.terminal { // the terminal is closed with the container: its size may still be asked for
		o.file.Close()
	}
}

// deliverLocked writes p to the log and to who is attached. When one of them cannot take it all, reading
// pauses until it can: the container waits, as on a terminal that is not read.
func (s *stdio) deliverLocked(o *output, p []byte) {
	if s.log != nil {
		if err := s.log.Write(o.stream, p); err != nil && !s.logFailed {
			s.logFailed = true
			slog.Error("cannot write container log", "err", err)
		} else if err == nil {
			s.logFailed = false
		}
	}
	for a := range s.attached {
		if !a.sendLocked(o.stream, p) {
			o.pauseLocked()
		}
	}
}

func (o *output) pauseLocked() {
	if !o.paused && !o.closed {
		o.paused = true
		o.io.poll.remove(o.fd)
	}
}

// resumeLocked reads on if nobody is behind any more.
func (s *stdio) resumeLocked() {
	for a := range s.attached {
		if a.behind() {
			return
		}
	}
	for _, o := range s.outputs {
		if o.paused && !o.closed {
			o.paused = false
			if err := s.poll.add(o.fd, unix.EPOLLIN, o); err != nil {
				slog.Error("cannot read container output", "err", err)
			}
		}
	}
}

// drain reads what the dead container has left behind and closes everything.
func (s *stdio) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outputs {
		if o.paused {
			o.paused = false
			_ = s.poll.add(o.fd, unix.EPOLLIN, o)
		}
		for o.readLocked() {
		}
		// Still paused: an attached client is slow. What it has not taken is in the log.
		if o.paused {
			s.drainToLogLocked(o)
		}
		o.closeLocked()
	}
	s.outputs = nil
	if s.log != nil {
		if err := s.log.Close(); err != nil {
			slog.Error("cannot close container log", "err", err)
		}
		s.log = nil
	}
	s.closeStdinLocked()
	if s.terminal != nil {
		s.terminal.Close()
		s.terminal = nil
	}
	for a := range s.attached {
		a.finishLocked()
	}
}

// drainToLogLocked reads the rest of o for the log alone.
func (s *stdio) drainToLogLocked(o *output) {
	attached := s.attached
	s.attached = nil
	o.paused = false
	_ = s.poll.add(o.fd, unix.EPOLLIN, o)
	for o.readLocked() {
	}
	s.attached = attached
}

func (s *stdio) closeStdin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeStdinLocked()
}

func (s *stdio) closeStdinLocked() {
	if s.stdin != nil && s.stdin != s.terminal {
		s.stdin.Close()
		s.keep.drop(s.stdinKey)
	}
	s.stdin = nil
}

// reopenLog continues in a new file.
func (s *stdio) reopenLog() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log == nil {
		return nil // ended meanwhile: nothing more will be written
	}
	return s.log.Reopen()
}
