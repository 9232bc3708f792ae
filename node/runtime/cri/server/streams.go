package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"

	"clipper/node/runtime"
	"clipper/node/runtime/stream"
)

// streams is the server of streams: it listens on loopback from the first call on that needs it. The address of a
// stream has a token in it that is good once and for a minute.
type streams struct {
	rt runtime.Runtime

	mu      sync.Mutex
	wake    chan struct{} // closed when there is something to serve
	server  streaming.Server
	serving net.Listener
	ended   bool
}

// readHeader limits how long a caller may take to say what it wants.
const readHeader = 10 * time.Second

// open returns the server, listening.
func (s *streams) open() (streaming.Server, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server != nil {
		return s.server, nil
	}
	if s.ended {
		return nil, errors.New("the server of streams is stopping")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for streams: %w", err)
	}
	config := streaming.DefaultConfig
	config.Addr = listener.Addr().String()
	config.BaseURL = &url.URL{Scheme: "http", Host: config.Addr, Path: "/"}
	server, err := streaming.NewServer(config, streamRuntime{s.rt})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the server of streams: %w", err), listener.Close())
	}
	s.server, s.serving = server, listener
	close(s.wakerLocked())
	return server, nil
}

func (s *streams) wakerLocked() chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	return s.wake
}

func (s *streams) waker() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wakerLocked()
}

// run serves streams, once there are any, until ctx ends.
func (s *streams) run(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-s.waker():
	}
	s.mu.Lock()
	s.ended = true // from here on nobody else opens it
	handler, listener := s.server, s.serving
	s.mu.Unlock()
	if listener == nil {
		return nil
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: readHeader}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve streams: %w", err)
	}
	return nil
}

// streamRuntime runs what streams ask for.
type streamRuntime struct{ rt runtime.Runtime }

// Exec implements streaming.Runtime.
func (r streamRuntime) Exec(ctx context.Context, id string, cmd []string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	code, err := r.rt.Exec(ctx, id, stream.Request(ctx, cmd, in, out, errOut, tty, resize))
	if err == nil && code != 0 {
		return utilexec.CodeExitError{Err: fmt.Errorf("error executing command %v, exit code %d", cmd, code), Code: code}
	}
	return err
}

// Attach implements streaming.Runtime.
func (r streamRuntime) Attach(ctx context.Context, id string, in io.Reader, out, errOut io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return r.rt.Attach(ctx, id, stream.Request(ctx, nil, in, out, errOut, tty, resize))
}

// PortForward implements streaming.Runtime.
func (r streamRuntime) PortForward(ctx context.Context, sandbox string, port int32, to io.ReadWriteCloser) error {
	return r.rt.PortForward(ctx, sandbox, port, to)
}
