package shim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	goruntime "runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/crilog"
	"clipper/node/runtime/embedded/wire"
)

// Options configure a shim.
type Options struct {
	StateDir  string
	Build     string        // content hash of this binary, told to the agent
	LogLimits crilog.Limits // of container logs
	// Listener is the socket that was handed over by the shim that this process was before; nil to make one.
	Listener *os.File
}

// A Handover says what the process is to become.
type Handover struct {
	wire.Build
	Listener *os.File
}

// A Server is the shim of a node.
type Server struct {
	opts     Options
	poll     *poller
	bootID   string
	profiles *profileCache
	keeper   *keeper
	starting chan struct{} // bounds concurrent starts: each has a set-up process beside it
	shutdown context.CancelFunc
	exits    sync.WaitGroup
	memory   trimmer

	mu         sync.Mutex
	rev        uint64
	sandboxes  map[string]*sandbox
	containers map[string]*container
	watches    map[*watch]struct{}
	next       *wire.Build // set by a request for another program
}

// ErrLocked says that another shim serves the state directory.
var ErrLocked = errors.New("another shim holds the lock")

// Serve runs a shim until ctx ends or the agent asks it to go, or to become another program, which is then what
// it returns. Containers stay. ready is called once the socket accepts connections and what the last shim left
// is adopted.
func Serve(ctx context.Context, opts Options, ready func()) (*Handover, error) {
	lock, err := lockStateDir(opts.StateDir)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newServer(opts, cancel)
	if err != nil {
		return nil, err
	}
	s.memory.quiet = s.reapZombies
	s.memory.touch()
	defer s.memory.stop()
	// The last to go when memory runs out. Without CAP_SYS_RESOURCE it stays as it is.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-999"), 0)
	var polling errgroup.Group
	// Connections end before it does: they wait for what it tells.
	pollCtx, stopPolling := context.WithCancel(context.WithoutCancel(ctx))
	polling.Go(func() error {
		defer cancel()
		return s.poll.run(pollCtx)
	})
	listener, err := s.takeOver()
	if err == nil {
		ready()
		err = s.accept(ctx, listener)
	}
	stopPolling()
	err = errors.Join(err, polling.Wait())
	s.exits.Wait()
	s.flushLogs()
	if err != nil || s.next == nil {
		return nil, err
	}
	return s.handOver(listener)
}

// takeOver adopts what is there and returns the socket to listen on.
func (s *Server) takeOver() (*net.UnixListener, error) {
	if err := s.adopt(); err != nil {
		return nil, err
	}
	if s.opts.Listener != nil {
		s.reapStrangers()
		l, err := net.FileListener(s.opts.Listener)
		if err != nil {
			return nil, fmt.Errorf("listen on the socket handed over: %w", err)
		}
		return l.(*net.UnixListener), s.opts.Listener.Close()
	}
	l, err := wire.Listen(s.opts.StateDir)
	if err != nil {
		return nil, fmt.Errorf("listen in %s: %w", s.opts.StateDir, err)
	}
	return l, nil
}

func newServer(opts Options, shutdown context.CancelFunc) (*Server, error) {
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return nil, err
	}
	return &Server{
		opts: opts, poll: poll, bootID: string(boot), profiles: &profileCache{}, keeper: newKeeper(opts.StateDir), shutdown: shutdown,
		starting: make(chan struct{}, max(8, 2*goruntime.NumCPU())),
		// Larger than any revision of a shim before us: the agent compares them.
		rev:       uint64(time.Now().UnixNano()),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, watches: map[*watch]struct{}{},
	}, nil
}

// lockStateDir makes sure that there is one shim per state directory. The lock dies with its holder.
func lockStateDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "shim.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return f, nil
}

// accept serves connections until ctx ends, and returns when all of them have.
func (s *Server) accept(ctx context.Context, l *net.UnixListener) error {
	// Not by closing it: what comes next may go on listening.
	stop := context.AfterFunc(ctx, func() { _ = l.SetDeadline(time.Now()) })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	for {
		c, err := l.AcceptUnix()
		if ctx.Err() != nil {
			if err == nil {
				c.Close()
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		conns.Go(func() { s.serve(ctx, wire.NewConn(c)) })
	}
}

// serve answers one connection until it is closed.
func (s *Server) serve(ctx context.Context, c *wire.Conn) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	for {
		var req wire.Request
		files, err := c.Receive(&req)
		if err != nil {
			return // closed, or nothing that we understand: the agent opens another one
		}
		if keep := s.handle(ctx, c, &req, files); !keep {
			return
		}
	}
}

// handle answers one request and reports whether the connection takes another.
func (s *Server) handle(ctx context.Context, c *wire.Conn, req *wire.Request, files []*os.File) bool {
	switch req.Op {
	case wire.OpWatch:
		s.serveWatch(ctx, c)
		return false
	case wire.OpWait:
		s.serveWait(ctx, c, req.ID)
		return false
	case wire.OpExec:
		s.serveExec(ctx, c, req, files)
		return false
	case wire.OpAttach:
		s.serveAttach(ctx, c, req, files)
		return false
	case wire.OpShutdown:
		_ = c.Send(&wire.Response{})
		s.shutdown()
		return false
	case wire.OpReplace:
		s.serveReplace(c, req.Replace)
		return false
	}
	wire.CloseAll(files)
	if c.PeerGone() {
		return false // an agent that is dead wants nothing any more: the next looks at what there is
	}
	s.memory.touch()
	resp, err := s.answer(req)
	if err != nil {
		resp = &wire.Response{Error: wire.AsError(err), Containers: resp.Containers}
	}
	if err := c.Send(resp); err != nil {
		slog.Debug("cannot answer the agent", "op", req.Op, "err", err)
		return false
	}
	return true
}

// answer carries out a request of one response. The response is never nil.
func (s *Server) answer(req *wire.Request) (*wire.Response, error) {
	var err error
	resp := &wire.Response{}
	switch req.Op {
	case wire.OpHello:
		resp.Hello = &wire.Hello{Version: wire.Version, Build: s.opts.Build, Pid: os.Getpid()}
	case wire.OpList:
		s.settle()
		resp = s.list()
	case wire.OpRunSandbox:
		var rec wire.Sandbox
		if rec, err = s.runSandbox(req.Sandbox); err == nil {
			resp.Sandboxes = []wire.Sandbox{rec}
		}
	case wire.OpStopSandbox:
		if err = s.stopSandbox(req.ID); err == nil {
			resp.Sandboxes = s.records(req.ID)
		}
	case wire.OpRemoveSandbox:
		if err = s.removeSandbox(req.ID); err == nil {
			resp.Removed = []wire.Removal{{ID: req.ID, Rev: s.revision()}}
		}
	case wire.OpReserve:
		resp.Containers, err = one(s.reserve(req.ID, req.Container))
	case wire.OpCreate:
		resp.Containers, err = one(s.create(req.ID, req.Container))
	case wire.OpStart:
		resp.Containers, err = one(s.start(req.ID))
	case wire.OpSignal:
		err = s.signal(req.ID, unix.Signal(req.Signal), req.All)
	case wire.OpRemove:
		var rev uint64
		if rev, err = s.remove(req.ID); err == nil {
			resp.Removed = []wire.Removal{{ID: req.ID, Rev: rev}}
		}
	case wire.OpUpdateResources:
		err = s.updateResources(req.ID, req.Resources)
	case wire.OpCloseStdin:
		err = s.withIO(req.ID, func(io *stdio) error { io.closeStdin(); return nil })
	case wire.OpReopenLog:
		err = s.withIO(req.ID, (*stdio).reopenLog)
	default:
		err = fmt.Errorf("unknown request %q", req.Op)
	}
	return resp, err
}

// one makes a list of a record. A record comes with an error too where the failure is part of it.
func one(rec wire.Container, err error) ([]wire.Container, error) {
	if rec.ID == "" {
		return nil, err
	}
	return []wire.Container{rec}, err
}

// container returns a container that is held.
func (s *Server) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.containers[id]
	if !ok {
		return nil, wire.NotFound("container", id)
	}
	return c, nil
}

func (s *Server) withIO(id string, do func(*stdio) error) error {
	c, err := s.container(id)
	if err != nil {
		return err
	}
	s.mu.Lock()
	io := c.io
	s.mu.Unlock()
	if io == nil {
		return nil // not running: it has no streams
	}
	return do(io)
}

func (s *Server) list() *wire.Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp := &wire.Response{
		Sandboxes: make([]wire.Sandbox, 0, len(s.sandboxes)), Containers: make([]wire.Container, 0, len(s.containers)), Rev: s.rev,
	}
	for _, sb := range s.sandboxes {
		resp.Sandboxes = append(resp.Sandboxes, sb.rec)
	}
	for _, c := range s.containers {
		resp.Containers = append(resp.Containers, c.rec)
	}
	return resp
}

// records returns the record of a sandbox, if there is one.
func (s *Server) records(id string) []wire.Sandbox {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sb, ok := s.sandboxes[id]; ok {
		return []wire.Sandbox{sb.rec}
	}
	return nil
}

// revision is that of the last change.
func (s *Server) revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rev
}

// settleWait bounds how long a list waits for starts: one may hang.
const settleWait = 5 * time.Second

// settle waits for what is under way with containers that have not started: what an agent has asked for that has
// died meanwhile. The next one would take a container that is about to run for one that never will.
func (s *Server) settle() {
	s.mu.Lock()
	var unsettled []*container
	for _, c := range s.containers {
		if c.rec.State == runtime.Created && !c.rec.Reserved {
			unsettled = append(unsettled, c)
		}
	}
	s.mu.Unlock()
	deadline := time.Now().Add(settleWait)
	for _, c := range unsettled {
		for !c.op.TryLock() {
			if time.Now().After(deadline) {
				return
			}
			time.Sleep(time.Millisecond)
		}
		c.op.Unlock()
	}
}

// containersOf returns the containers of a sandbox.
func (s *Server) containersOf(sandboxID string) []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*container
	for c := range maps.Values(s.containers) {
		if c.rec.SandboxID == sandboxID {
			out = append(out, c)
		}
	}
	return out
}
