package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/wire"
)

// Exec runs a process in a container and returns its exit code when it ends. When ctx ends before, the process is
// killed. A read from e.Stdin that is under way then goes on until it returns.
func (r *Runtime) Exec(ctx context.Context, id string, e runtime.Exec) (int, error) {
	conn, err := r.client.dial(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	s := &session{exec: &e}
	defer s.close()
	req := &wire.Request{Op: wire.OpExec, ID: id, Exec: &wire.ExecSpec{Args: e.Command, TTY: e.TTY}}
	if e.TTY {
		req.Exec.Width, req.Exec.Height = firstSize(e.Resize)
	} else if err := s.openPipes(req.Exec); err != nil {
		return 0, err
	}
	if err := r.client.send(ctx, conn, req, s.theirs...); err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	s.closeTheirs()
	resp, files, err := r.client.receive(ctx, conn)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	if resp.Error != nil {
		return 0, resp.Error
	}
	if e.TTY {
		if err := s.useTerminal(files); err != nil {
			return 0, err
		}
	}
	s.copy(ctx)
	resp, err = r.client.receiveExit(ctx, conn)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	s.finish()
	if resp.Exit == nil {
		return 0, fmt.Errorf("exec in container %s: the shim reported no exit code", id)
	}
	return resp.Exit.Code, nil
}

// Attach joins the container's own stdio until it, ctx or the client's stdin ends; where the latter is the end of
// the container's stdin as well, its output is worth waiting for.
func (r *Runtime) Attach(ctx context.Context, id string, e runtime.Exec) error {
	rec, err := r.record(ctx, id)
	if err != nil {
		return err
	}
	conn, err := r.client.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	s := &session{exec: &e}
	defer s.close()
	var pipes wire.ExecSpec
	stdin := e.Stdin
	e.Stdin = nil // comes back as the container's own
	if err := s.openPipes(&pipes); err != nil {
		return err
	}
	req := &wire.Request{Op: wire.OpAttach, ID: id, Attach: &wire.AttachSpec{
		Stdin: stdin != nil, Stdout: pipes.Stdout, Stderr: pipes.Stderr,
	}}
	if err := r.client.send(ctx, conn, req, s.theirs...); err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	s.closeTheirs()
	resp, files, err := r.client.receive(ctx, conn)
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	if resp.Error != nil {
		return resp.Error
	}
	if len(files) > 0 {
		if err := s.useStdin(files, rec.TTY); err != nil {
			return err
		}
		e.Stdin = stdin
	}
	s.stdinDone = func() { conn.Close() } // the container's stdin stays open for others: this client has said all
	if rec.StdinOnce && !rec.TTY {
		s.stdinDone = func() {
			_, _ = r.call(context.WithoutCancel(ctx), &wire.Request{Op: wire.OpCloseStdin, ID: id})
		}
	}
	s.copy(ctx)
	_, _, _ = r.client.receive(ctx, conn) // the shim says no more: it closes
	s.finish()
	return ctx.Err()
}

// A session is the agent's side of one exec or attach.
type session struct {
	exec      *runtime.Exec
	theirs    []*os.File // sent to the shim, then closed
	stdin     *os.File
	outputs   []output
	terminal  *os.File
	stdinDone func() // after the end of exec.Stdin

	copying sync.WaitGroup
	closing sync.Once
}

type output struct {
	from *os.File
	to   io.Writer
}

// openPipes makes a pipe for each stream that is wanted, and says so in spec.
func (s *session) openPipes(spec *wire.ExecSpec) error {
	if s.exec.Stdin != nil {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.theirs, s.stdin, spec.Stdin = append(s.theirs, r), w, true
	}
	for i, to := range []io.Writer{s.exec.Stdout, s.exec.Stderr} {
		if to == nil {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		s.theirs, s.outputs = append(s.theirs, w), append(s.outputs, output{r, to})
		if i == 0 {
			spec.Stdout = true
		} else {
			spec.Stderr = true
		}
	}
	// The process's ends must block, as programs expect.
	for _, f := range s.theirs {
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) closeTheirs() {
	wire.CloseAll(s.theirs)
	s.theirs = nil
}

// useTerminal makes the master side of a terminal the session's stdin and output.
func (s *session) useTerminal(files []*os.File) error {
	if len(files) != 1 {
		wire.CloseAll(files)
		return errors.New("exec: the shim sent no terminal")
	}
	f, err := pollable(files[0])
	if err != nil {
		return err
	}
	s.terminal, s.stdin = f, f
	if s.exec.Stdout != nil {
		s.outputs = []output{{f, s.exec.Stdout}}
	}
	return nil
}

// useStdin makes the container's stdin, or its terminal, the session's.
func (s *session) useStdin(files []*os.File, terminal bool) error {
	f, err := pollable(files[0])
	wire.CloseAll(files[1:])
	if err != nil {
		return err
	}
	s.stdin = f
	if terminal {
		s.terminal = f
	}
	return nil
}

// pollable hands a received descriptor to the Go runtime's poller, so that waiting for it takes no thread. From
// here on Fd must not be called on it: it would make the descriptor block, for the shim too.
func pollable(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// copy starts moving bytes and sizes.
func (s *session) copy(ctx context.Context) {
	if s.stdin != nil && s.exec.Stdin != nil {
		go s.copyStdin() // ends with exec.Stdin, which is the caller's to end
	}
	for _, o := range s.outputs {
		s.copying.Go(func() { copyOutput(o) })
	}
	if s.terminal != nil && s.exec.Resize != nil {
		go s.resize(ctx) // ends with exec.Resize or ctx
	}
}

func (s *session) copyStdin() {
	_, _ = io.Copy(s.stdin, s.exec.Stdin)
	if s.terminal == nil {
		s.stdin.Close()
	}
	if s.stdinDone != nil {
		s.stdinDone()
	}
}

func (s *session) resize(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-s.exec.Resize:
			if !ok {
				return
			}
			conn, err := s.terminal.SyscallConn()
			if err != nil {
				return
			}
			err = conn.Control(func(fd uintptr) {
				_ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Col: size.Width, Row: size.Height})
			})
			if err != nil {
				return // closed
			}
		}
	}
}

// idleEnd is how long a stream may be silent after its process has ended before it is given up: something
// that the process left running may hold it open for ever.
const idleEnd = time.Second

// copyOutput moves bytes until the stream ends, or, once finish has set a deadline, falls silent.
func copyOutput(o output) {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.from.Read(buf)
		if n > 0 {
			if _, werr := o.to.Write(buf[:n]); werr != nil {
				// Nobody listens. Read on, so that the process does not hang.
				o.to = io.Discard
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				_ = o.from.SetReadDeadline(time.Now().Add(idleEnd))
				continue
			}
		}
		if err != nil { // EOF; EIO: the terminal's other side is closed
			return
		}
	}
}

// finish waits for the rest of the output of a process that has ended.
func (s *session) finish() {
	done := make(chan struct{})
	go func() { s.copying.Wait(); close(done) }()
	var before [2]int
	for {
		select {
		case <-done:
			return
		case <-time.After(idleEnd):
		}
		// Unread bytes that grow fewer are on their way to a slow client.
		var left [2]int
		for i, o := range s.outputs {
			left[i] = unread(o.from)
		}
		if left == before {
			for _, o := range s.outputs {
				_ = o.from.SetReadDeadline(time.Now())
			}
			<-done
			return
		}
		before = left
	}
}

// unread is how many bytes wait in f.
func unread(f *os.File) int {
	conn, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	n := 0
	_ = conn.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}

func (s *session) close() {
	s.closing.Do(func() {
		s.closeTheirs()
		if s.stdin != nil {
			s.stdin.Close()
		}
		for _, o := range s.outputs {
			o.from.Close()
		}
		s.copying.Wait()
	})
}

// firstSize returns the size that a terminal should start with, if one is waiting.
func firstSize(sizes <-chan runtime.Size) (width, height uint16) {
	select {
	case s := <-sizes:
		return s.Width, s.Height
	default:
		return 0, 0
	}
}
