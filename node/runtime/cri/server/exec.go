package server

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"clipper/node/runtime"
)

// maxOutput is how much of a command's output ExecSync keeps of each stream. containerd's figure.
const maxOutput = 16 << 20

// limited keeps what fits and swallows the rest.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// running returns a container that runs.
func (s *Server) running(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	c, err := s.container(ctx, id)
	if err == nil && c.State != runtime.Running {
		err = fmt.Errorf("container is in %s state", containerState(c.State))
	}
	return c, err
}

// ExecSync runs a command to its end, at most for the timeout, and returns its output.
func (s *Server) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	c, err := s.running(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	if len(req.Cmd) == 0 {
		return nil, status.Error(codes.InvalidArgument, "no command was given")
	}
	if req.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(req.Timeout)*time.Second)
		defer cancel()
	}
	var stdout, stderr limited
	code, err := s.opts.Runtime.Exec(ctx, c.ID, runtime.Exec{Command: req.Cmd, Short: true, Stdout: &stdout, Stderr: &stderr})
	if err != nil && ctx.Err() != nil && req.Timeout > 0 {
		return nil, status.Errorf(codes.DeadlineExceeded, "failed to exec in container: timeout %ds exceeded: context deadline exceeded", req.Timeout)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to exec in container: %w", err)
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: int32(code)}, nil
}

// streamsOf returns the server of streams for a container that runs, whose ID it writes out in full.
func (s *Server) streamsOf(ctx context.Context, id *string) (streaming.Server, error) {
	c, err := s.running(ctx, *id)
	if err != nil {
		return nil, err
	}
	*id = c.ID
	return s.streams.open()
}

// Exec returns the address at which a command can be run with its streams.
func (s *Server) Exec(ctx context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	server, err := s.streamsOf(ctx, &req.ContainerId)
	if err != nil {
		return nil, err
	}
	return server.GetExec(req)
}

// Attach returns the address at which a container's own streams are.
func (s *Server) Attach(ctx context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	server, err := s.streamsOf(ctx, &req.ContainerId)
	if err != nil {
		return nil, err
	}
	return server.GetAttach(req)
}

// PortForward returns the address at which the sandbox's ports can be reached.
func (s *Server) PortForward(ctx context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	if !sb.Ready {
		return nil, fmt.Errorf("sandbox container %q is not running", sb.ID)
	}
	server, err := s.streams.open()
	if err != nil {
		return nil, err
	}
	req.PodSandboxId = sb.ID
	return server.GetPortForward(req)
}
