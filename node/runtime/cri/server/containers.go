package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// CreateContainer makes a container in a sandbox.
func (s *Server) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	config := req.Config
	if config.GetMetadata() == nil {
		return nil, status.Error(codes.InvalidArgument, "container config must include metadata")
	}
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	if !sb.Ready {
		return nil, fmt.Errorf("sandbox container %q is not running", sb.ID)
	}
	release, err := s.holdContainer(ctx, sb.ID, config.Metadata)
	if err != nil {
		return nil, err
	}
	defer release()
	if _, err := s.opts.Images.ImageStatus(ctx, config.GetImage().GetImage()); err != nil {
		return nil, fmt.Errorf("failed to resolve image %q: %w", config.GetImage().GetImage(), err)
	}
	c, err := s.containerSpec(sb.ID, config, req.SandboxConfig)
	if err != nil {
		return nil, err
	}
	if c.LogPath != "" {
		if err := os.MkdirAll(filepath.Dir(c.LogPath), 0o755); err != nil {
			return nil, fmt.Errorf("make the log directory: %w", err)
		}
	}
	id, err := s.opts.Runtime.CreateContainer(ctx, c)
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, err
}

// holdContainer makes sure that the sandbox has one container alone with that metadata.
func (s *Server) holdContainer(ctx context.Context, sandbox string, m *runtimeapi.ContainerMetadata) (release func(), err error) {
	name := fmt.Sprintf("%s_%s_%d", m.Name, sandbox, m.Attempt)
	if release, err = s.naming.hold(name); err != nil {
		return nil, err
	}
	_, containers, err := s.opts.Runtime.List(ctx)
	for i := range containers {
		if c := &containers[i]; c.SandboxID == sandbox && c.Name == m.Name && c.Attempt == int(m.Attempt) {
			err = fmt.Errorf("failed to reserve container name %q: name is reserved for %q", name, c.ID)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// StartContainer starts a container that has not run yet.
func (s *Server) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	if c.State != runtime.Created {
		return nil, fmt.Errorf("container %q is in %s state", c.ID, containerState(c.State))
	}
	return &runtimeapi.StartContainerResponse{}, s.opts.Runtime.StartContainer(ctx, c.ID)
}

// StopContainer stops it within the timeout. It is no error if nothing runs.
func (s *Server) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if errors.Is(err, runtime.ErrNotFound) {
		return &runtimeapi.StopContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.StopContainerResponse{}, s.opts.Runtime.StopContainer(ctx, c.ID, time.Duration(req.Timeout)*time.Second)
}

// RemoveContainer removes it, killed if it runs.
func (s *Server) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if errors.Is(err, runtime.ErrNotFound) {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.RemoveContainerResponse{}, s.opts.Runtime.RemoveContainer(ctx, c.ID)
}

// ListContainers lists the containers that a filter lets through.
func (s *Server) ListContainers(ctx context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	items, err := s.listContainers(ctx, req.Filter)
	return &runtimeapi.ListContainersResponse{Containers: items}, err
}

// StreamContainers is ListContainers in parts.
func (s *Server) StreamContainers(req *runtimeapi.StreamContainersRequest, to grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	items, err := s.listContainers(to.Context(), req.Filter)
	return inParts(items, err, func(part []*runtimeapi.Container) error {
		return to.Send(&runtimeapi.StreamContainersResponse{Containers: part})
	})
}

func (s *Server) listContainers(ctx context.Context, f *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	_, containers, err := s.opts.Runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.Container
	for i := range containers {
		c := &containers[i]
		if f != nil && (!strings.HasPrefix(c.ID, f.Id) || !strings.HasPrefix(c.SandboxID, f.PodSandboxId) ||
			f.State != nil && f.State.State != containerState(c.State) || !selects(f.LabelSelector, c.Labels)) {
			continue
		}
		out = append(out, s.listedContainer(ctx, c))
	}
	return out, nil
}

// ContainerStatus describes a container.
func (s *Server) ContainerStatus(ctx context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.ContainerStatusResponse{Status: s.containerStatus(ctx, &c)}
	if req.Verbose {
		out.Info = map[string]string{"info": asJSON(map[string]any{"sandboxID": c.SandboxID, "pid": c.Pid, "signal": c.Signal, "oomKilled": c.OOMKilled})}
	}
	return out, nil
}

// UpdateContainerResources changes the limits of a container.
func (s *Server) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, s.opts.Runtime.UpdateResources(ctx, c.ID, resources(req.Linux))
}

// ReopenContainerLog starts a new log file after the old one was moved away.
func (s *Server) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	if c.State != runtime.Running {
		return nil, fmt.Errorf("container is not running: %q is in %s state", c.ID, containerState(c.State))
	}
	return &runtimeapi.ReopenContainerLogResponse{}, s.opts.Runtime.ReopenLog(ctx, c.ID)
}
