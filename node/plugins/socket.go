package plugins

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// waitForReady makes a call wait for the socket to be served: it appears a moment before that.
var waitForReady = grpc.WaitForReady(true)

// maxPath is the longest path that an address of a socket can hold.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Dial returns a connection to the service behind a socket. It connects with the first call.
func Dial(socket string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///localhost", append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var conn net.Conn
			err := shortly(socket, func(path string) (err error) {
				conn, err = (&net.Dialer{}).DialContext(ctx, "unix", path)
				return err
			})
			return conn, err
		}))...)
}

// Listen makes a socket, in place of one that a killed agent has left.
func Listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var l net.Listener
	err := shortly(socket, func(path string) (err error) {
		l, err = net.Listen("unix", path)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", socket, err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the path may be one of shortly's; the next Listen removes it
	return l, nil
}

// shortly calls use with a path of the socket that fits into an address.
func shortly(socket string, use func(path string) error) error {
	if len(socket) <= maxPath {
		return use(socket)
	}
	dir, err := unix.Open(filepath.Dir(socket), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the folder of %s: %w", socket, err)
	}
	defer unix.Close(dir)
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", dir, filepath.Base(socket)))
}
