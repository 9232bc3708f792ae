package shim

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"clipper/node/runtime"
)

// reapStrangers ends children that the program before left and no record tells of: set-up processes of starts that
// did not come to their end, processes that were exec'd.
func (s *Server) reapStrangers() {
	for _, pid := range s.strangers() {
		_ = unix.Kill(pid, unix.SIGKILL)
		s.exits.Go(func() { _, _ = unix.Wait4(pid, nil, 0, nil) })
	}
}

// oldZombie is the age from which nobody is about to wait for a first stage any more: it lives for milliseconds.
const oldZombie = 10 * time.Second

// reapZombies clears away dead first stages of starts that have failed half-way: the library waits for one only
// after it has told its number.
func (s *Server) reapZombies() {
	for _, pid := range s.strangers() {
		name, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm")
		if _, dead := zombieStatus(pid); dead && bytes.HasPrefix(name, []byte("runc:[1:")) && age(pid) > oldZombie {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// age is how long ago a process started.
func age(pid int) time.Duration {
	const tick = 10 * time.Millisecond // of start times, on every machine
	started, err := startTimeOf(pid)
	var now unix.Timespec
	if err != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) != nil {
		return 0
	}
	return time.Duration(now.Nano()) - time.Duration(started)*tick
}

// strangers are children that no record tells of.
func (s *Server) strangers() []int {
	lists, _ := filepath.Glob("/proc/self/task/*/children") // by the thread that made them
	known := s.knownPids()
	var out []int
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may have ended
		for field := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil && !known[pid] {
				out = append(out, pid)
			}
		}
	}
	return out
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
