package shim

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/wire"
)

// adopt takes over what an earlier shim left in the state directory.
func (s *Server) adopt() error {
	for _, dir := range []string{"sandboxes", "containers", "libcontainer"} {
		if err := os.MkdirAll(filepath.Join(s.opts.StateDir, dir), 0o711); err != nil {
			return err
		}
	}
	sandboxes, err := os.ReadDir(filepath.Join(s.opts.StateDir, "sandboxes"))
	if err != nil {
		return err
	}
	for _, e := range sandboxes {
		s.adoptSandbox(e.Name())
	}
	containers, err := os.ReadDir(filepath.Join(s.opts.StateDir, "containers"))
	if err != nil {
		return err
	}
	for _, e := range containers {
		if err := s.adoptContainer(e.Name()); err != nil {
			slog.Error("cannot adopt container", "container", e.Name(), "err", err)
		}
	}
	return nil
}

func (s *Server) adoptSandbox(id string) {
	var saved savedSandbox
	if err := readJSON(filepath.Join(s.sandboxDir(id), "sandbox.json"), &saved); err != nil || saved.Record.Spec == nil {
		// Its first write had not happened: nothing else has either.
		slog.Warn("removing the rest of a sandbox without a record", "sandbox", id, "err", err)
		if err := os.RemoveAll(s.sandboxDir(id)); err != nil {
			slog.Error("cannot remove it", "sandbox", id, "err", err)
		}
		return
	}
	rec := saved.Record
	if saved.BootID != s.bootID {
		rec.Ready = false // the machine was restarted: the namespaces are gone
	}
	s.setSandbox(&sandbox{id: id}, rec)
}

// adoptContainer reads a container's record and takes hold of its process, if it still runs.
func (s *Server) adoptContainer(id string) error {
	var saved savedContainer
	if err := readJSON(filepath.Join(s.containerDir(id), "state.json"), &saved); err != nil {
		return errors.Join(err, os.RemoveAll(s.containerDir(id)))
	}
	c := &container{
		s: s, id: id, rec: saved.Record, pidfd: -1, ended: make(chan struct{}),
		startTime: saved.StartTime, sharedPID: saved.SharedPID,
	}
	c.op.Lock()
	defer c.op.Unlock()
	s.setContainer(c, saved.Record)
	switch {
	case saved.Record.State == runtime.Exited:
		close(c.ended)
		return c.finishRelease(saved.Record)
	case saved.Record.State == runtime.Created:
		return c.adoptCreated(saved)
	case saved.BootID != s.bootID:
		rec := saved.Record
		rec.ExitCode, rec.Reason = rebootExit, rebootReason
		return c.lost(rec, errors.New("the machine was restarted"))
	}
	if err := c.adoptRunning(); err != nil {
		return c.lost(saved.Record, err)
	}
	return nil
}

// What is told of a container that ran when the machine went down: as containerd does.
const (
	rebootExit   = 255
	rebootReason = "Unknown"
)

// adoptCreated deals with a start that the earlier shim began and did not finish: nobody knows how far the
// process came, so it ends.
func (c *container) adoptCreated(saved savedContainer) error {
	_, err := os.Stat(filepath.Join(c.s.libcontainerDir(), c.id))
	if errors.Is(err, os.ErrNotExist) {
		return nil // not begun
	}
	return c.lost(saved.Record, err)
}

// finishRelease does what an earlier shim did not come to, which ended after it had recorded the container's end.
func (c *container) finishRelease(rec wire.Container) error {
	_, err := os.Stat(filepath.Join(c.s.libcontainerDir(), c.id))
	if errors.Is(err, os.ErrNotExist) {
		return nil // it did
	}
	return errors.Join(err, c.clearAway(rec))
}

// clearAway removes what is left of a container that no shim holds open any more.
func (c *container) clearAway(rec wire.Container) error {
	var errs []error
	if rec.CgroupPath != "" {
		errs = append(errs, killCgroup(rec.CgroupPath), removePodCgroup(rec.CgroupPath))
	}
	if rec.TTY || rec.Stdin {
		c.s.keeper.drop(c.id)
		c.s.keeper.drop(c.newStdio().stdinKey)
	}
	return errors.Join(append(errs, os.RemoveAll(filepath.Join(c.s.libcontainerDir(), c.id)))...)
}

// lost records the end of a container whose end nobody saw, and clears away what is left of it.
func (c *container) lost(rec wire.Container, cause error) error {
	slog.Warn("the end of a container was not seen", "container", c.id, "err", cause)
	cleared := c.clearAway(rec)
	rec.State, rec.Pid, rec.FinishedAt = runtime.Exited, 0, time.Now()
	if rec.Reason == "" {
		rec.ExitCode, rec.Reason = unknownExit, "ContainerStatusUnknown"
		rec.Message = "The container could not be located when the pod was terminated"
	}
	_, err := c.save(rec)
	close(c.ended)
	return errors.Join(cleared, err)
}

// adoptRunning opens everything that the earlier shim had open for the container.
func (c *container) adoptRunning() error {
	pidfd, err := openPidfd(c.rec.Pid, c.startTime)
	if err != nil {
		return err
	}
	lc, err := libcontainer.Load(c.s.libcontainerDir(), c.id)
	if err != nil {
		unix.Close(pidfd)
		return err
	}
	var spec wire.ContainerSpec
	if err := readJSON(filepath.Join(c.s.containerDir(c.id), "config.json"), &spec); err != nil {
		unix.Close(pidfd)
		return err
	}
	streams, err := c.reopenStdio(&spec)
	if err != nil {
		unix.Close(pidfd)
		return fmt.Errorf("reopen its streams: %w", err)
	}
	profile, err := c.s.defaultProfile(&spec)
	if err != nil {
		slog.Warn("exec will compile its seccomp filter", "container", c.id, "err", err)
	}
	c.s.mu.Lock()
	c.pidfd, c.lc, c.io, c.process, c.profile = pidfd, lc, streams, spec.OCI.Process, profile
	c.s.mu.Unlock()
	return c.s.poll.add(pidfd, unix.EPOLLIN, c)
}

// reopenStdio opens the shim's sides of the streams again.
func (c *container) reopenStdio(spec *wire.ContainerSpec) (*stdio, error) {
	io := c.newStdio()
	if spec.Status.LogPath != "" {
		var err error
		if io.log, err = crilog.Open(spec.Status.LogPath, c.s.opts.LogLimits); err != nil {
			return nil, err
		}
	}
	if spec.TTY {
		master, err := c.s.keeper.fetch(c.id)
		if err != nil { // it has hung up: what lives in spite of that goes on without it
			slog.Warn("a container has lost its terminal", "container", c.id, "err", err)
			return io, nil
		}
		io.terminal, io.stdin = master, master
		return io, io.watch(master, crilog.Stdout)
	}
	dir := c.s.containerDir(c.id)
	if spec.Stdin {
		// It is not held any more where it has been closed, from either side.
		io.stdin, _ = c.s.keeper.fetch(io.stdinKey)
	}
	for i, name := range fifoNames[1:] {
		f, err := openFile(filepath.Join(dir, name), unix.O_RDONLY|unix.O_NONBLOCK)
		if err != nil {
			return nil, err
		}
		if err := io.watch(f, crilog.Stream(i)); err != nil {
			return nil, err
		}
	}
	return io, nil
}

// updateSpec changes the limits of a container that has not been started. Called with c.op held.
func (c *container) updateSpec(r *specs.LinuxResources) error {
	path := filepath.Join(c.s.containerDir(c.id), "config.json")
	var spec wire.ContainerSpec
	if err := readJSON(path, &spec); err != nil {
		return err
	}
	old := spec.OCI.Linux.Resources
	r.Devices = old.Devices
	if r.Memory == nil {
		r.Memory = old.Memory
	}
	if r.Pids == nil {
		r.Pids = old.Pids
	}
	if r.CPU == nil {
		r.CPU = old.CPU
	}
	spec.OCI.Linux.Resources = r
	c.spec = nil // what is written is what counts
	return writeJSON(path, &spec)
}
