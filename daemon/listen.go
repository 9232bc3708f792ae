package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// listen takes the API's port.
func (o *FrontOptions) listen(address string) (net.Listener, error) {
	return (&net.ListenConfig{Control: o.share}).Listen(context.Background(), "tcp", address)
}

// share sets what others may do at the same address.
func (o *FrontOptions) share(_, _ string, c syscall.RawConn) error {
	var faults []error
	set := func(wanted bool, name string, option int) {
		if !wanted {
			return
		}
		err := c.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, 1); err != nil { // #nosec G115 -- a descriptor is small
				faults = append(faults, fmt.Errorf("set %s: %w", name, err))
			}
		})
		faults = append(faults, err)
	}
	set(o.ShareAddress, "SO_REUSEADDR", unix.SO_REUSEADDR)
	set(o.SharePort, "SO_REUSEPORT", unix.SO_REUSEPORT)
	return errors.Join(faults...)
}

// listenDebug takes the place of a socket that an earlier process has left.
func listenDebug(path string) (net.Listener, error) {
	if path == "" {
		return nil, nil
	}
	switch there, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("--debug-socket-path: %w", err)
	case there.Mode()&os.ModeSocket == 0:
		return nil, fmt.Errorf("--debug-socket-path: %s is there, and no socket; give another path", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("--debug-socket-path: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("--debug-socket-path: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("--debug-socket-path: %w", err)
	}
	return l, nil
}
