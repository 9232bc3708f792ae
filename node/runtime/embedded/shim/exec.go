package shim

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/wire"
)

// A running is a process that exec started.
type running struct {
	process *libcontainer.Process
	pidfd   int
	poll    *poller
	ended   chan struct{}
}

// ready is called by the poller: the process has ended.
func (r *running) ready(uint32) {
	r.poll.remove(r.pidfd)
	close(r.ended)
}

// serveExec runs a process in a container. It answers once it has started and once it has ended. When the agent
// closes the connection before, the process is killed: nobody listens to it any more.
func (s *Server) serveExec(ctx context.Context, conn *wire.Conn, req *wire.Request, files []*os.File) {
	s.memory.touch()
	r, terminal, err := s.startExec(req, files)
	wire.CloseAll(files)
	if err != nil {
		_ = conn.Send(&wire.Response{Error: wire.AsError(err)})
		return
	}
	defer unix.Close(r.pidfd)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var master []*os.File
	if terminal != nil {
		master = append(master, terminal)
	}
	err = conn.Send(&wire.Response{}, master...)
	wire.CloseAll(master)
	if err != nil {
		cancel()
	}
	closed := hangUp(conn, cancel)
	defer func() { conn.Close(); <-closed }()
	select {
	case <-r.ended:
	case <-ctx.Done():
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
		<-r.ended
	}
	code := unknownExit
	if state, _ := r.process.Wait(); state != nil {
		code, _ = exitCode(waitStatus(state))
	}
	_ = conn.Send(&wire.Response{Exit: &wire.Exit{Code: code}})
}

// startExec starts the process and returns it with the terminal's master side, if it has one.
func (s *Server) startExec(req *wire.Request, files []*os.File) (_ *running, terminal *os.File, err error) {
	c, err := s.container(req.ID)
	if err != nil {
		return nil, nil, err
	}
	lc, spec, profile, err := c.execProcess()
	if err != nil {
		return nil, nil, err
	}
	if len(req.Exec.Args) == 0 {
		return nil, nil, fmt.Errorf("container %s: exec: no command", req.ID)
	}
	spec.Args = req.Exec.Args
	process := newProcess(&spec)
	process.ExtraFiles = profile.passTo()
	var console *os.File
	if req.Exec.TTY {
		process.Env = withTerm(process.Env)
		process.ConsoleWidth, process.ConsoleHeight = req.Exec.Width, req.Exec.Height
		if console, process.ConsoleSocket, err = socketpair(); err != nil {
			return nil, nil, err
		}
		defer wire.CloseAll([]*os.File{console, process.ConsoleSocket})
	} else {
		null, err := execStdio(process, req.Exec, files)
		if err != nil {
			return nil, nil, err
		}
		defer null.Close()
	}
	s.starting <- struct{}{}
	err = lc.Run(process)
	<-s.starting
	if err != nil {
		return nil, nil, fmt.Errorf("exec failed: %w: unknown", err)
	}
	r, err := s.watchExec(process)
	if err != nil {
		return nil, nil, err
	}
	if console != nil {
		if terminal, err = receiveTerminal(console); err != nil {
			_ = process.Signal(unix.SIGKILL)
			return nil, nil, err
		}
	}
	return r, terminal, nil
}

// watchExec waits for the process by the poller.
func (s *Server) watchExec(process *libcontainer.Process) (*running, error) {
	pid, err := process.Pid()
	if err != nil {
		return nil, err
	}
	pidfd, err := openPidfd(pid, 0)
	if err != nil {
		return nil, err
	}
	r := &running{process: process, pidfd: pidfd, poll: s.poll, ended: make(chan struct{})}
	if err := s.poll.add(pidfd, unix.EPOLLIN, r); err != nil {
		unix.Close(pidfd)
		return nil, err
	}
	return r, nil
}

// execStdio gives the process the agent's files, and /dev/null for what the agent did not ask for.
func execStdio(p *libcontainer.Process, spec *wire.ExecSpec, files []*os.File) (null *os.File, err error) {
	if null, err = openFile("/dev/null", unix.O_RDWR); err != nil {
		return nil, err
	}
	stdio := [3]*os.File{null, null, null}
	for i, wanted := range []bool{spec.Stdin, spec.Stdout, spec.Stderr} {
		if !wanted {
			continue
		}
		if len(files) == 0 {
			null.Close()
			return nil, fmt.Errorf("exec: %s was asked for, but no descriptor came with it", fifoNames[i])
		}
		stdio[i], files = files[0], files[1:]
	}
	p.Stdin, p.Stdout, p.Stderr = stdio[0], stdio[1], stdio[2]
	return null, nil
}

// withTerm sets TERM for a process on a terminal.
func withTerm(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(kv string) bool { return strings.HasPrefix(kv, "TERM=") })
	return append(env, "TERM=xterm")
}

// serveAttach joins a container's streams until the connection, ctx or the container ends.
func (s *Server) serveAttach(ctx context.Context, conn *wire.Conn, req *wire.Request, files []*os.File) {
	c, err := s.container(req.ID)
	if err != nil {
		wire.CloseAll(files)
		_ = conn.Send(&wire.Response{Error: wire.AsError(err)})
		return
	}
	s.mu.Lock()
	io, rec := c.io, c.rec
	s.mu.Unlock()
	var pipes [2]*os.File
	for i, wanted := range []bool{req.Attach.Stdout, req.Attach.Stderr} {
		if wanted && len(files) > 0 {
			pipes[i], files = files[0], files[1:]
		}
	}
	wire.CloseAll(files)
	if io == nil {
		wire.CloseAll(pipes[:])
		_ = conn.Send(&wire.Response{Error: &wire.Error{Kind: wire.KindConflict, Message: fmt.Sprintf("container %s is not running", req.ID)}})
		return
	}
	a, err := io.attach(pipes)
	if err != nil {
		_ = conn.Send(&wire.Response{Error: wire.AsError(err)})
		return
	}
	defer a.detach()
	if req.Attach.Stdin && rec.Stdin && rec.StdinOnce && !rec.TTY {
		defer io.closeStdin()
	}
	stdin := io.shareStdin(req.Attach.Stdin)
	err = conn.Send(&wire.Response{}, stdin...)
	wire.CloseAll(stdin)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := hangUp(conn, cancel)
	defer func() { conn.Close(); <-closed }()
	select {
	case <-a.done:
	case <-ctx.Done():
	}
}

// shareStdin returns a descriptor of its own that writes to the container's stdin or is its terminal.
func (s *stdio) shareStdin(wanted bool) []*os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.terminal // for its size, even if nothing is to be written
	if f == nil && wanted {
		f = s.stdin
	}
	if f == nil {
		return nil
	}
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	return []*os.File{os.NewFile(uintptr(fd), f.Name())}
}

// serveWait answers when the container has ended.
func (s *Server) serveWait(ctx context.Context, conn *wire.Conn, id string) {
	c, err := s.container(id)
	if err != nil {
		_ = conn.Send(&wire.Response{Error: wire.AsError(err)})
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	closed := hangUp(conn, cancel)
	defer func() { conn.Close(); <-closed }()
	select {
	case <-c.ended:
		_ = conn.Send(&wire.Response{Containers: []wire.Container{c.record()}})
	case <-ctx.Done():
	}
}
