package shim

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"clipper/node/runtime"
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

// reapStrangers ends children that the program before left and no record tells of: set-up processes of starts that
// did not come to their end, processes that were exec'd.
func (s *Server) reapStrangers() {
	self := strconv.Itoa(os.Getpid())
	text, err := os.ReadFile("/proc/self/task/" + self + "/children") // all are the first thread's now
	if err != nil {
		slog.Warn("cannot look for children that nobody waits for", "err", err)
		return
	}
	known := s.knownPids()
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil || known[pid] {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		s.exits.Go(func() { _, _ = unix.Wait4(pid, nil, 0, nil) })
	}
}

// knownPids are the processes that records name: of containers and of pods' namespaces.
func (s *Server) knownPids() map[int]bool {
	known := map[int]bool{}
	s.mu.Lock()
	for _, c := range s.containers {
		if c.rec.State == runtime.Running {
			known[c.rec.Pid] = true
		}
	}
	sandboxes := slices.Collect(maps.Keys(s.sandboxes))
	s.mu.Unlock()
	for _, id := range sandboxes {
		if pid, err := s.pausePid(id); err == nil {
			known[pid] = true
		}
	}
	return known
}
