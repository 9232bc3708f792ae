package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runc/libcontainer"
	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/wire"
)

// childStdio are a container's streams while it is being started: the shim's sides in io, the child's to be
// closed once it has them.
type childStdio struct {
	io        *stdio
	child     [3]*os.File
	outputs   [2]*os.File // the shim's read sides of stdout and stderr
	console   *os.File    // where the terminal's master side comes from
	consoleIn *os.File    // the child's end of it
	id        string
	begun     bool
}

var fifoNames = [3]string{"stdin", "stdout", "stderr"}

// newStdio returns streams that have nothing open yet.
func (c *container) newStdio() *stdio {
	return &stdio{poll: c.s.poll, keep: c.s.keeper, stdinKey: "stdin-" + c.id}
}

// openStdio makes the container's streams as spec wants them.
func (c *container) openStdio(spec *wire.ContainerSpec) (_ *childStdio, err error) {
	cs := &childStdio{id: c.id, io: c.newStdio()}
	defer func() {
		if err != nil {
			cs.discard()
		}
	}()
	if spec.Status.LogPath != "" {
		if cs.io.log, err = crilog.Open(spec.Status.LogPath, c.s.opts.LogLimits); err != nil {
			return nil, fmt.Errorf("open container log: %w", err)
		}
	}
	if spec.TTY {
		cs.console, cs.consoleIn, err = socketpair()
		return cs, err
	}
	return cs, cs.openFIFOs(c.s.containerDir(c.id), spec.Stdin, int(spec.RootID))
}

// openFIFOs makes FIFOs in dir. The child gets its outputs opened for reading too: it then never has a broken
// pipe, not even while no shim is there to read.
func (cs *childStdio) openFIFOs(dir string, stdin bool, owner int) (err error) {
	for i, name := range fifoNames {
		path := filepath.Join(dir, name)
		if i == 0 && !stdin {
			if cs.child[0], err = openFile("/dev/null", unix.O_RDONLY); err != nil {
				return err
			}
			continue
		}
		if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "mkfifo", Path: path, Err: err}
		}
		if owner != 0 { // it may be opened again, as /dev/stdout
			if err := os.Chown(path, owner, owner); err != nil {
				return err
			}
		}
		if i == 0 {
			err = cs.openStdin(path)
			if err != nil {
				return err
			}
			continue
		}
		if cs.outputs[i-1], err = openFile(path, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return err
		}
		if cs.child[i], err = openFile(path, unix.O_RDWR); err != nil {
			return err
		}
	}
	return nil
}

// openStdin opens both ends. Opening one end alone would wait for the other: a third descriptor is both.
func (cs *childStdio) openStdin(path string) error {
	both, err := openFile(path, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer both.Close()
	if cs.child[0], err = openFile(path, unix.O_RDONLY); err != nil {
		return err
	}
	if cs.io.stdin, err = openFile(path, unix.O_WRONLY|unix.O_NONBLOCK); err != nil {
		return err
	}
	return cs.io.keep.keep(cs.io.stdinKey, cs.io.stdin)
}

// attachTo gives the process its ends.
func (cs *childStdio) attachTo(p *libcontainer.Process) {
	if cs.consoleIn != nil {
		p.ConsoleSocket = cs.consoleIn
		return
	}
	p.Stdin, p.Stdout, p.Stderr = cs.child[0], cs.child[1], cs.child[2]
}

// begin reads on behalf of a process that has started.
func (cs *childStdio) begin() error {
	cs.begun = true
	wire.CloseAll(cs.child[:])
	if cs.console != nil {
		defer cs.console.Close()
		cs.consoleIn.Close()
		master, err := receiveTerminal(cs.console)
		if err != nil {
			return err
		}
		cs.io.terminal, cs.io.stdin = master, master
		if err := cs.io.keep.keep(cs.id, master); err != nil {
			return err
		}
		return cs.io.watch(master, crilog.Stdout)
	}
	for i, f := range cs.outputs {
		if err := cs.io.watch(f, crilog.Stream(i)); err != nil {
			return err
		}
	}
	return nil
}

// discard closes everything: the process did not start.
func (cs *childStdio) discard() {
	if !cs.begun {
		wire.CloseAll(cs.child[:])
		wire.CloseAll([]*os.File{cs.console, cs.consoleIn, cs.outputs[0], cs.outputs[1]})
	}
	cs.io.drain()
}

// openFile opens path without handing it to the Go runtime's poller: these descriptors are ours to wait for,
// or the child's.
func openFile(path string, flags int) (*os.File, error) {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	// NewFile would register a non-blocking descriptor: make it so only afterwards.
	if flags&unix.O_NONBLOCK != 0 {
		if err := unix.SetNonblock(fd, false); err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// socketpair returns the two ends over which libcontainer hands a terminal's master side to us.
func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "console"), os.NewFile(uintptr(fds[1]), "console"), nil
}

// receiveTerminal takes the master side, which the set-up process has sent before it ran the command.
func receiveTerminal(from *os.File) (*os.File, error) {
	name := make([]byte, 4096)
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(int(from.Fd()), name, oob, unix.MSG_CMSG_CLOEXEC|unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	f, err := passedFile(oob[:n])
	if err != nil {
		return nil, fmt.Errorf("receive terminal: %w", err)
	}
	return f, nil
}

// passedFile takes a terminal's descriptor out of a control message.
func passedFile(oob []byte) (*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil && len(fds) == 1 {
			unix.CloseOnExec(fds[0])
			if err := unix.SetNonblock(fds[0], false); err != nil { // see openFile
				unix.Close(fds[0])
				return nil, err
			}
			return os.NewFile(uintptr(fds[0]), "terminal"), nil
		}
	}
	return nil, errors.New("no descriptor came")
}
