package shim

import (
	"errors"
	"fmt"
	"log/slog"
	"net"

	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/wire"
)

// A shim is replaced by another build without a gap: the process ends what it is doing and becomes the other
// program. It keeps its number and its children, whose exit codes any kernel tells it, and the listening socket,
// on which requests wait meanwhile. The rest is as after a crash: the new program adopts by the state files.

// serveReplace makes the shim end with a successor, if that is a program.
func (s *Server) serveReplace(c *wire.Conn, next *wire.Build) {
	err := errors.New("replace: no program was named")
	if next != nil {
		err = unix.Access(next.Path, unix.X_OK)
	}
	if err != nil {
		_ = c.Send(&wire.Response{Error: wire.AsError(fmt.Errorf("replace the shim: %w", err))})
		return
	}
	s.mu.Lock()
	s.next = next
	s.mu.Unlock()
	_ = c.Send(&wire.Response{})
	s.shutdown()
}

// handOver takes the socket out of the Go runtime's hands, so that it survives the change of program.
func (s *Server) handOver(l *net.UnixListener) (*Handover, error) {
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("hand the socket over: %w", err)
	}
	return &Handover{Build: *s.next, Listener: f}, nil
}

// flushLogs writes down the beginnings of lines that no newline has ended yet.
func (s *Server) flushLogs() {
	s.mu.Lock()
	var streams []*stdio
	for _, c := range s.containers {
		if c.io != nil {
			streams = append(streams, c.io)
		}
	}
	s.mu.Unlock()
	for _, io := range streams {
		io.mu.Lock()
		if io.log != nil {
			if err := io.log.Flush(); err != nil {
				slog.Error("cannot write container log", "err", err)
			}
		}
		io.mu.Unlock()
	}
}
