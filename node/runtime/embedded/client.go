package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/wire"
)

// maxIdle is how many connections to the shim are kept for the next requests.
const maxIdle = 4

// A client talks to the shim, and starts it when there is none.
type client struct {
	stateDir  string
	binDir    string
	shimPath  string // set: use this binary instead of the embedded one
	cgroup    string
	logLimits crilog.Limits

	launching sync.Mutex // one launch at a time
	stays     bool       // guarded by launching: the shim has been asked to be replaced

	mu      sync.Mutex
	idle    []*wire.Conn
	checked bool // this shim speaks our version
}

// call sends a request and returns the response. An error that the shim reports comes with the response.
func (c *client) call(ctx context.Context, req *wire.Request) (*wire.Response, error) {
	conn, reused, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err = c.send(ctx, conn, req); err != nil && reused && ctx.Err() == nil {
		// The connection is from before the shim was restarted. Nothing has reached it.
		conn.Close()
		c.dropIdle()
		if conn, _, err = c.connect(ctx); err != nil {
			return nil, err
		}
		err = c.send(ctx, conn, req)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("container shim: %s: %w", req.Op, err)
	}
	resp, _, err := c.receive(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("container shim: %s: %w", req.Op, err)
	}
	if req.Op == wire.OpWait { // the shim closes it
		conn.Close()
	} else {
		c.release(conn)
	}
	if resp.Error != nil {
		return resp, resp.Error
	}
	return resp, nil
}

func (c *client) send(ctx context.Context, conn *wire.Conn, req *wire.Request, files ...*os.File) error {
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn.Send(req, files...)
}

// receive waits for a response until ctx ends, which closes the connection.
func (c *client) receive(ctx context.Context, conn *wire.Conn) (*wire.Response, []*os.File, error) {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	resp := &wire.Response{}
	files, err := conn.Receive(resp)
	if !stop() && ctx.Err() != nil {
		wire.CloseAll(files)
		return nil, nil, ctx.Err()
	}
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			err = errors.New("the shim has gone away")
		}
		return nil, nil, err
	}
	return resp, files, nil
}

// killTold is how long a process is waited for that the shim was told to kill.
const killTold = 2 * time.Second

// receiveExit waits for a process's end. When ctx ends before, the shim kills the process, as it hears nothing more
// from us; that is waited for, so that nothing is left of it when the caller goes on.
func (c *client) receiveExit(ctx context.Context, conn *wire.Conn) (*wire.Response, error) {
	_ = conn.SetDeadline(time.Time{}) // that of ctx was for what came before
	stop := context.AfterFunc(ctx, func() {
		_ = conn.SetDeadline(time.Now().Add(killTold))
		_ = conn.CloseWrite()
	})
	resp, _, err := c.receive(context.WithoutCancel(ctx), conn)
	if !stop() {
		return nil, ctx.Err()
	}
	return resp, err
}

func (c *client) release(conn *wire.Conn) {
	_ = conn.SetDeadline(time.Time{})
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= maxIdle {
		conn.Close()
		return
	}
	c.idle = append(c.idle, conn)
}

// dropIdle forgets the connections to a shim that is gone.
func (c *client) dropIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.idle {
		conn.Close()
	}
	c.idle, c.checked = nil, false
}

// connect returns an idle connection or a new one.
func (c *client) connect(ctx context.Context) (_ *wire.Conn, reused bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn := c.idle[n-1]
		c.idle = c.idle[:n-1]
		c.mu.Unlock()
		return conn, true, nil
	}
	c.mu.Unlock()
	conn, err := c.dial(ctx)
	return conn, false, err
}

// dial opens a connection, to a shim that is started if there is none.
func (c *client) dial(ctx context.Context) (*wire.Conn, error) {
	conn, err := wire.Dial(c.stateDir)
	c.mu.Lock()
	checked := c.checked
	c.mu.Unlock()
	if err == nil && checked {
		return conn, nil
	}
	if err == nil {
		conn.Close()
	}
	c.launching.Lock()
	defer c.launching.Unlock()
	return c.dialLaunching(ctx)
}

// dialLaunching connects, launches and replaces the shim as needed. Called with c.launching held.
func (c *client) dialLaunching(ctx context.Context) (*wire.Conn, error) {
	for attempt := 0; ; attempt++ {
		conn, err := wire.Dial(c.stateDir)
		if err == nil {
			ok, herr := c.check(ctx, conn)
			if ok {
				return conn, nil
			}
			conn.Close()
			err = herr
		} else {
			err = c.launch(ctx)
		}
		if err != nil && (attempt >= 2 || ctx.Err() != nil || errors.Is(err, ErrNoShim)) {
			return nil, fmt.Errorf("start the container shim: %w", err)
		}
	}
}

// check says hello and reports whether the shim is the one that we want. Another build of it is replaced.
func (c *client) check(ctx context.Context, conn *wire.Conn) (bool, error) {
	if err := c.send(ctx, conn, &wire.Request{Op: wire.OpHello}); err != nil {
		return false, err
	}
	resp, _, err := c.receive(ctx, conn)
	if err != nil {
		return false, err
	}
	speaks := resp.Hello != nil && resp.Hello.Version == wire.Version
	if speaks && (c.stays || !c.outdated(resp.Hello.Build)) {
		_ = conn.SetDeadline(time.Time{})
		c.mu.Lock()
		c.checked = true
		c.mu.Unlock()
		return true, nil
	}
	if !c.stays {
		c.stays = true // asked once: whatever comes of it, a shim that speaks our language will do
		if err := c.replace(ctx, conn); err == nil || speaks {
			return false, ctx.Err()
		}
	}
	slog.Info("ending a container shim of another version")
	return false, c.farewell(ctx, conn, &wire.Request{Op: wire.OpShutdown})
}

// outdated reports whether another build of the shim is at hand.
func (c *client) outdated(build string) bool {
	if c.shimPath != "" {
		return false
	}
	ours, err := embeddedBuild()
	return err == nil && ours != build
}

// replace asks the shim to become the build at hand. Containers stay its children.
func (c *client) replace(ctx context.Context, conn *wire.Conn) error {
	path, build, err := unpackShim(c.binDir)
	if err == nil {
		slog.Info("replacing the container shim by another build", "build", build)
		err = c.farewell(ctx, conn, &wire.Request{Op: wire.OpReplace, Replace: &wire.Build{Path: path, Hash: build}})
	}
	if err != nil {
		slog.Warn("the container shim was not replaced", "err", err)
	}
	return err
}

// farewell sends the last request of a connection and returns when the shim has closed it.
func (c *client) farewell(ctx context.Context, conn *wire.Conn, req *wire.Request) error {
	if err := c.send(ctx, conn, req); err != nil {
		return err
	}
	for {
		resp, _, err := c.receive(ctx, conn)
		if err != nil {
			return ctx.Err()
		}
		if resp.Error != nil {
			return resp.Error
		}
	}
}

// launch starts a shim in the background and returns when it is ready.
func (c *client) launch(ctx context.Context) error {
	path, build := c.shimPath, "custom"
	if path == "" {
		var err error
		if path, build, err = unpackShim(c.binDir); err != nil {
			return err
		}
	}
	args := []string{"launch", "--state-dir", c.stateDir, "--build", build,
		"--log-size", strconv.FormatInt(c.logLimits.Size, 10), "--log-files", strconv.Itoa(c.logLimits.Files)}
	if c.cgroup != "" {
		args = append(args, "--cgroup", c.cgroup)
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GOTRACEBACK=all"}
	cmd.Dir, cmd.Stderr = "/", &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		if msg := strings.TrimSpace(stderr.String()); msg != "" {
			return errors.New(msg)
		}
		return err
	}
	return nil
}

// close drops the idle connections. The shim stays.
func (c *client) close() { c.dropIdle() }
