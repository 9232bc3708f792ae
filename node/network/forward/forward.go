// Package forward connects streams to TCP ports inside pods' network namespaces: what kubectl port-forward asks
// of a node.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	goruntime "runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const dialTimeout = 10 * time.Second

// To connects stream to a port of the loopback in the network namespace at path netns, "" for the caller's own,
// until either side ends.
func To(ctx context.Context, netns string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	conn, err := dial(ctx, netns, strconv.Itoa(int(port)))
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	var g errgroup.Group
	g.Go(func() error {
		_, err := io.Copy(conn, stream)
		if tc, ok := conn.(*net.TCPConn); ok {
			tc.CloseWrite() //nolint:errcheck // it may be gone already
		}
		return err
	})
	_, err = io.Copy(stream, conn)
	// The peer is done: whatever else the client sends has no reader.
	stream.Close()
	conn.Close()
	if werr := g.Wait(); err == nil && werr != nil && !errors.Is(werr, net.ErrClosed) && !errors.Is(werr, io.EOF) {
		return nil // the client broke off; nothing to report to anybody
	}
	return err
}

// dial connects to localhost in the pod's namespace. A socket belongs to the namespace of the thread that
// makes it: a thread of its own enters the namespace, dials, and is not used again.
func dial(ctx context.Context, netns, port string) (net.Conn, error) {
	if netns == "" {
		return dialLocal(ctx, port)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enter(netns)
		if err != nil {
			done <- result{nil, err}
			return
		}
		c, err := dialLocal(ctx, port)
		done <- result{c, err}
	}()
	r := <-done
	return r.conn, r.err
}

func enter(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer unix.Close(fd)
	if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return nil
}

// dialLocal tries both loopback addresses. Each is a literal, so that dialing stays on this thread.
func dialLocal(ctx context.Context, port string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
	if err == nil {
		return c, nil
	}
	if c, err6 := d.DialContext(ctx, "tcp6", net.JoinHostPort("::1", port)); err6 == nil {
		return c, nil
	}
	return nil, err
}
