package shim

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opencontainers/runc/libcontainer"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/wire"
)

// A container is one that the shim holds, from its reservation to its removal.
type container struct {
	s  *Server
	id string

	op sync.Mutex // held by what changes the container: create, start, exit, remove

	// Guarded by Server.mu, changed with op held.
	rec     wire.Container
	io      *stdio
	lc      *libcontainer.Container
	process *specs.Process // what an exec'd process inherits
	profile *profile       // its seccomp profile, if it is the default one
	pidfd   int
	ended   chan struct{} // closed once the exit is recorded

	// Guarded by op.
	spec      *wire.ContainerSpec   // from create to start; nil when an earlier shim did the former
	child     *libcontainer.Process // nil when adopted from another shim: not our child
	startTime uint64
	sharedPID bool
	status    *unix.WaitStatus // of an adopted process that has ended; set by the poller before exited runs
}

// savedContainer is state.json.
type savedContainer struct {
	Record    wire.Container `json:"record"`
	StartTime uint64         `json:"startTime,omitempty"` // of the process, in ticks since boot
	SharedPID bool           `json:"sharedPID,omitempty"`
	BootID    string         `json:"bootID"`
}

// save writes rec to disk, then makes it known. Called with c.op held.
func (c *container) save(rec wire.Container) (wire.Container, error) {
	path := filepath.Join(c.s.containerDir(c.id), "state.json")
	err := writeJSON(path, savedContainer{Record: rec, StartTime: c.startTime, SharedPID: c.sharedPID, BootID: c.s.bootID})
	if err != nil {
		return rec, fmt.Errorf("container %s: save state: %w", c.id, err)
	}
	return c.s.setContainer(c, rec), nil
}

func (c *container) record() wire.Container {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.rec
}

// reserve records that id is being created, before the agent makes a snapshot for it: an agent that dies in
// between leaves a record to clean up by.
func (s *Server) reserve(id string, spec *wire.ContainerSpec) (wire.Container, error) {
	if err := checkID(id); err != nil {
		return wire.Container{}, err
	}
	s.mu.Lock()
	_, taken := s.containers[id]
	_, ok := s.sandboxes[spec.Status.SandboxID]
	s.mu.Unlock()
	if taken {
		return wire.Container{}, &wire.Error{Kind: wire.KindConflict, Message: fmt.Sprintf("container %q exists", id)}
	}
	if !ok {
		return wire.Container{}, wire.NotFound("sandbox", spec.Status.SandboxID)
	}
	if err := os.MkdirAll(s.containerDir(id), 0o700); err != nil {
		return wire.Container{}, err
	}
	c := &container{s: s, id: id, pidfd: -1, ended: make(chan struct{})}
	c.op.Lock()
	defer c.op.Unlock()
	rec := wire.Container{ContainerStatus: spec.Status, Reserved: true}
	rec.ID, rec.State, rec.CreatedAt = id, runtime.Created, time.Now()
	return c.save(rec)
}

// create completes a reservation: everything is known, nothing runs yet.
func (s *Server) create(id string, spec *wire.ContainerSpec) (wire.Container, error) {
	c, err := s.container(id)
	if err != nil {
		return wire.Container{}, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	old := c.record()
	if !old.Reserved {
		return wire.Container{}, &wire.Error{Kind: wire.KindConflict, Message: fmt.Sprintf("container %q exists", id)}
	}
	if err := writeJSON(filepath.Join(s.containerDir(id), "config.json"), spec); err != nil {
		return wire.Container{}, err
	}
	rec := wire.Container{
		ContainerStatus: spec.Status, CgroupPath: spec.CgroupPath, StopSignal: spec.StopSignal,
		TTY: spec.TTY, Stdin: spec.Stdin, StdinOnce: spec.StdinOnce,
	}
	rec.ID, rec.State, rec.CreatedAt = id, runtime.Created, old.CreatedAt
	c.sharedPID, c.spec = spec.SharedPID, spec
	return c.save(rec)
}

// startErrorCode and startErrorReason are those of a container whose process could not be started.
const (
	startErrorCode   = 128
	startErrorReason = "StartError"
)

// start runs the container's process. A failure is recorded as the container's end, and returned with it.
func (s *Server) start(id string) (wire.Container, error) {
	c, err := s.container(id)
	if err != nil {
		return wire.Container{}, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	rec := c.record()
	if rec.State != runtime.Created || rec.Reserved {
		return rec, &wire.Error{Kind: wire.KindConflict, Message: fmt.Sprintf("container %q cannot be started: it is not in state created", id)}
	}
	s.starting <- struct{}{}
	pid, err := c.launch()
	<-s.starting
	if err != nil {
		return c.startFailed(rec, err)
	}
	running := rec
	running.State, running.Pid, running.StartedAt = runtime.Running, pid, time.Now()
	if running, err = c.save(running); err == nil {
		err = s.poll.add(c.pidfd, unix.EPOLLIN, c)
	}
	if err != nil { // a full disk, perhaps: what cannot be recorded must not run
		c.abandon(pid)
		return c.startFailed(rec, err)
	}
	return running, nil
}

// abandon kills a process that was started and clears up after it.
func (c *container) abandon(pid int) {
	_ = unix.Kill(pid, unix.SIGKILL) // our child, not reaped: the pid is its own
	_, _ = c.child.Wait()
	if c.sharedPID {
		if err := killCgroup(c.record().CgroupPath); err != nil {
			slog.Warn("cannot kill what a container left running", "container", c.id, "err", err)
		}
	}
	c.io.drain()
	c.release()
}

func (c *container) startFailed(rec wire.Container, cause error) (wire.Container, error) {
	rec.State, rec.FinishedAt = runtime.Exited, time.Now()
	rec.ExitCode, rec.Reason, rec.Message = startErrorCode, startErrorReason, startMessage(cause)
	saved, err := c.save(rec)
	if err != nil {
		saved = c.s.setContainer(c, rec) // the agent is told even if the disk cannot be
	}
	close(c.ended)
	return saved, errors.Join(errors.New(rec.Message), err)
}

// startMessage words a start failure as users of runc know it.
func startMessage(err error) string { return err.Error() + ": unknown" }

// launch creates the libcontainer container and runs its process. On failure nothing of it is left.
func (c *container) launch() (pid int, err error) {
	spec, err := c.takeSpec()
	if err != nil {
		return 0, err
	}
	config, err := c.s.libcontainerConfig(c.id, spec)
	if err != nil {
		return 0, err
	}
	lc, err := libcontainer.Create(c.s.libcontainerDir(), c.id, config)
	if err != nil {
		return 0, err
	}
	streams, err := c.openStdio(spec)
	if err != nil {
		return 0, errors.Join(err, lc.Destroy())
	}
	process := newProcess(spec.OCI.Process)
	process.Init = true
	profile, err := c.s.defaultProfile(spec)
	if err != nil {
		streams.discard()
		return 0, errors.Join(err, lc.Destroy())
	}
	process.ExtraFiles = profile.passTo()
	streams.attachTo(process)
	if err := lc.Run(process); err != nil {
		streams.discard()
		if derr := lc.Destroy(); derr != nil {
			slog.Warn("cannot clean up after a failed start", "container", c.id, "err", derr)
		}
		return 0, err
	}
	if pid, err = c.adoptProcess(lc, process, spec.OCI.Process, profile, streams); err != nil {
		_ = lc.Signal(unix.SIGKILL)
		_, _ = process.Wait()
		streams.discard()
		if spec.TTY {
			c.s.keeper.drop(c.id)
		}
		return 0, errors.Join(err, lc.Destroy())
	}
	return pid, nil
}

// takeSpec returns what was asked for at create. It is not kept: of a running container only a part is needed.
func (c *container) takeSpec() (*wire.ContainerSpec, error) {
	if spec := c.spec; spec != nil {
		c.spec = nil
		return spec, nil
	}
	spec := &wire.ContainerSpec{}
	return spec, readJSON(filepath.Join(c.s.containerDir(c.id), "config.json"), spec)
}

// adoptProcess takes hold of a process that has just been started.
func (c *container) adoptProcess(lc *libcontainer.Container, process *libcontainer.Process, spec *specs.Process, profile *profile, streams *childStdio) (int, error) {
	pid, err := process.Pid()
	if err != nil {
		return 0, err
	}
	startTime, err := startTimeOf(pid) // it is our child: even dead it keeps its pid
	if err != nil {
		return 0, err
	}
	pidfd, err := openPidfd(pid, startTime)
	if err != nil {
		return 0, err
	}
	if err := streams.begin(); err != nil {
		unix.Close(pidfd)
		return 0, err
	}
	c.child, c.startTime = process, startTime
	c.s.mu.Lock()
	c.lc, c.io, c.pidfd, c.process, c.profile = lc, streams.io, pidfd, spec, profile
	c.s.mu.Unlock()
	return pid, nil
}

// ready is called by the poller: the process has ended. One that is not our child is reported twice: dead,
// then, when its parent has reaped it, with EPOLLHUP. Its exit code can be read from /proc in between and
// from the kernel after.
func (c *container) ready(events uint32) {
	if c.child == nil {
		if !c.learnExit() && events&unix.EPOLLHUP == 0 && pidfdTellsExit() {
			_ = c.s.poll.modify(c.pidfd, 0) // only the hang-up from now on
			return
		}
	}
	c.s.poll.remove(c.pidfd)
	c.s.exits.Go(c.exited)
}

// learnExit finds out how an adopted process ended.
func (c *container) learnExit() bool {
	ws, ok := zombieStatus(c.rec.Pid)
	if !ok {
		ws, ok = exitStatus(c.pidfd)
	}
	if ok {
		c.status = &ws
	}
	return ok
}

// exited records how the process ended and clears away what it leaves.
func (c *container) exited() {
	c.s.memory.touch()
	c.op.Lock()
	defer c.op.Unlock()
	rec := c.record()
	rec.ExitCode, rec.Signal = c.wait()
	rec.FinishedAt = time.Now()
	if c.sharedPID { // no PID namespace has died with it: its children may live
		if err := killCgroup(rec.CgroupPath); err != nil {
			slog.Warn("cannot kill what a container left running", "container", c.id, "err", err)
		}
	}
	if c.io != nil {
		c.io.drain()
	}
	rec.OOMKilled = oomKilled(rec.CgroupPath)
	rec.State, rec.Pid = runtime.Exited, 0
	if rec.Reason == "" {
		rec.Reason = exitReason(&rec)
	}
	if _, err := c.save(rec); err != nil {
		slog.Error("cannot record an exit", "container", c.id, "err", err)
		c.s.setContainer(c, rec)
	}
	c.release()
	close(c.ended)
}

func exitReason(rec *wire.Container) string {
	switch {
	case rec.OOMKilled:
		return "OOMKilled"
	case rec.ExitCode == 0:
		return "Completed"
	default:
		return "Error"
	}
}

// wait returns the exit code of a process that has ended.
func (c *container) wait() (code, signal int) {
	if c.child != nil {
		if state, _ := c.child.Wait(); state != nil { // the error only repeats the state
			return exitCode(waitStatus(state))
		}
	}
	if c.status != nil {
		// It is our child where the shim before was this very process.
		_, _ = unix.Wait4(c.record().Pid, nil, unix.WNOHANG, nil)
		return exitCode(*c.status)
	}
	return unknownExit, int(unix.SIGKILL)
}

// release frees what only a running container needs.
func (c *container) release() {
	if c.lc != nil {
		if err := c.lc.Destroy(); err != nil {
			slog.Warn("cannot remove a container's cgroup", "container", c.id, "err", err)
		}
	}
	if c.record().TTY {
		c.s.keeper.drop(c.id)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
	}
	c.pidfd, c.lc, c.io, c.process, c.profile, c.child = -1, nil, nil, nil, nil, nil
}

// signal sends sig to the container's first process, or to all of them.
func (s *Server) signal(id string, sig unix.Signal, all bool) error {
	c, err := s.container(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	rec, pidfd := c.rec, c.pidfd
	if rec.State == runtime.Running && pidfd >= 0 && !all {
		err = unix.PidfdSendSignal(pidfd, sig, nil, 0) // under the lock: the descriptor stays open
	}
	s.mu.Unlock()
	switch {
	case rec.State != runtime.Running:
		return nil // it has had its end
	case errors.Is(err, unix.ESRCH):
		return nil
	case err != nil:
		return fmt.Errorf("container %s: signal %d: %w", id, sig, err)
	case all:
		return killCgroup(rec.CgroupPath)
	}
	return nil
}

// kill ends the container at once and waits until its exit is recorded.
func (c *container) kill() error {
	rec := c.record()
	if rec.State != runtime.Running {
		return nil
	}
	if err := c.s.signal(c.id, unix.SIGKILL, false); err != nil {
		return err
	}
	if c.sharedPID {
		if err := killCgroup(rec.CgroupPath); err != nil {
			return err
		}
	}
	select {
	case <-c.ended:
		return nil
	case <-time.After(killWait):
		return fmt.Errorf("container %s: process %d is still there %v after SIGKILL", c.id, rec.Pid, killWait)
	}
}

// killWait is how long a killed process may take to disappear: it may be stuck in a device or a file system.
const killWait = 10 * time.Second

// remove forgets the container and its state. One that runs is killed. One that is unknown is no error.
func (s *Server) remove(id string) (uint64, error) {
	c, err := s.container(id)
	if err != nil {
		return s.forget(id), nil
	}
	if err := c.kill(); err != nil {
		return 0, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := os.RemoveAll(s.containerDir(id)); err != nil {
		return 0, err
	}
	return s.forget(id), nil
}

// execProcess returns what an exec'd process starts from, and the container to start it in.
func (c *container) execProcess() (*libcontainer.Container, specs.Process, *profile, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.rec.State != runtime.Running || c.lc == nil || c.process == nil {
		return nil, specs.Process{}, nil, &wire.Error{Kind: wire.KindConflict, Message: fmt.Sprintf("container %s is not running", c.id)}
	}
	return c.lc, *c.process, c.profile, nil
}
