package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/network"
	"clipper/node/runtime"
	"clipper/node/userns"
)

var errNoNetwork = errors.New("the pod network is not up yet; the node has to be registered first")

// RunPodSandbox makes a sandbox with a network of its own.
func (s *Server) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	config := req.Config
	if config.GetMetadata() == nil {
		return nil, status.Error(codes.InvalidArgument, "sandbox config must include metadata")
	}
	release, err := s.holdSandbox(ctx, config.Metadata)
	if err != nil {
		return nil, err
	}
	defer release()
	id := newID()
	sb, err := s.sandboxSpec(id, config)
	if err != nil {
		return nil, err
	}
	sb.Handler = req.RuntimeHandler
	if err := s.runSandbox(ctx, &sb, config); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("failed to run pod sandbox %q: %w", config.Metadata.Name, err), s.removeSandbox(ctx, &runtime.SandboxStatus{ID: id, External: true}))
	}
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, nil
}

// cleanUpTime limits what is undone after a failure, even of a call that was cancelled.
const cleanUpTime = 20 * time.Second

func newID() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// holdSandbox makes sure that there is one sandbox alone with that metadata.
func (s *Server) holdSandbox(ctx context.Context, m *runtimeapi.PodSandboxMetadata) (release func(), err error) {
	name := fmt.Sprintf("%s_%s_%s_%d", m.Name, m.Namespace, m.Uid, m.Attempt)
	if release, err = s.naming.hold(name); err != nil {
		return nil, err
	}
	sandboxes, _, err := s.opts.Runtime.List(ctx)
	for i := range sandboxes {
		if sb := &sandboxes[i]; sb.Pod == m.Name && sb.Namespace == m.Namespace && sb.PodUID == m.Uid && sb.Attempt == int(m.Attempt) {
			err = fmt.Errorf("failed to reserve sandbox name %q: name is reserved for %q", name, sb.ID)
		}
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// sandboxSpec translates what is asked for.
func (s *Server) sandboxSpec(id string, c *runtimeapi.PodSandboxConfig) (runtime.Sandbox, error) {
	ns := c.GetLinux().GetSecurityContext().GetNamespaceOptions()
	parent := c.GetLinux().GetCgroupParent()
	if parent == "" {
		parent = s.opts.CgroupParent
	}
	if strings.HasSuffix(parent, ".slice") {
		return runtime.Sandbox{}, status.Errorf(codes.InvalidArgument, "cgroup parent %q: is of the systemd driver, this runtime uses cgroupfs; give a path", parent)
	}
	ids, err := userNamespace(ns)
	if err != nil {
		return runtime.Sandbox{}, err
	}
	m := c.Metadata
	return runtime.Sandbox{
		ID: id, External: true, UserNS: ids,
		PodUID: m.Uid, Namespace: m.Namespace, Pod: m.Name, Attempt: int(m.Attempt),
		Hostname:    c.Hostname,
		HostNetwork: ns.GetNetwork() == runtimeapi.NamespaceMode_NODE,
		HostPID:     ns.GetPid() == runtimeapi.NamespaceMode_NODE,
		HostIPC:     ns.GetIpc() == runtimeapi.NamespaceMode_NODE,
		SharedPID:   ns.GetPid() == runtimeapi.NamespaceMode_POD,
		Sysctls:     maps.Clone(c.GetLinux().GetSysctls()),
		// Of the sandbox's own: it is removed with it, the parent may be that of others as well.
		CgroupParent: path.Join("/", parent, id),
		Resources:    resources(c.GetLinux().GetResources()),
		LogDir:       c.LogDirectory,
		Labels:       c.Labels, Annotations: c.Annotations,
	}, nil
}

// userNamespace says what the sandbox's user namespace maps, nil if it has none of its own: one range, for users and
// groups alike.
func userNamespace(ns *runtimeapi.NamespaceOption) (*userns.IDs, error) {
	o := ns.GetUsernsOptions()
	if o == nil || o.Mode == runtimeapi.NamespaceMode_NODE {
		return nil, nil
	}
	if o.Mode != runtimeapi.NamespaceMode_POD {
		return nil, status.Errorf(codes.InvalidArgument, "unsupported user namespace mode: %q", o.Mode)
	}
	if len(o.Uids) != 1 || len(o.Gids) != 1 || o.Uids[0].String() != o.Gids[0].String() || o.Uids[0].ContainerId != 0 || o.Uids[0].Length == 0 {
		return nil, status.Error(codes.InvalidArgument, "a user namespace needs one range of IDs from 0 on, the same for users and groups")
	}
	if ns.Network == runtimeapi.NamespaceMode_NODE {
		return nil, status.Error(codes.InvalidArgument, "a user namespace cannot be had with the host's network")
	}
	return &userns.IDs{Host: o.Uids[0].HostId, Length: o.Uids[0].Length}, nil
}

func (s *Server) runSandbox(ctx context.Context, sb *runtime.Sandbox, c *runtimeapi.PodSandboxConfig) error {
	if !sb.HostNetwork {
		n := s.opts.Network()
		if n == nil {
			return errNoNetwork
		}
		if sb.UserNS != nil {
			if err := n.Separate(sb.ID, *sb.UserNS); err != nil {
				return err
			}
		}
		at, err := n.Attach(ctx, sb.ID, hostPorts(c.PortMappings))
		if err != nil {
			return err
		}
		sb.NetNS = at.NetNS
	}
	if sb.LogDir != "" {
		if err := os.MkdirAll(sb.LogDir, 0o755); err != nil {
			return fmt.Errorf("make the log directory: %w", err)
		}
	}
	if err := writeFiles(s.filesDir(sb.ID), c); err != nil {
		return err
	}
	return s.opts.Runtime.RunSandbox(ctx, *sb)
}

// hostPorts lists the ports of the node that lead to the sandbox.
func hostPorts(mappings []*runtimeapi.PortMapping) []network.PodPort {
	var out []network.PodPort
	for _, m := range mappings {
		if m.HostPort <= 0 {
			continue
		}
		p := network.PodPort{HostPort: uint16(m.HostPort), ContainerPort: uint16(m.ContainerPort), Protocol: m.Protocol.String()}
		if ip, err := netip.ParseAddr(m.HostIp); err == nil && !ip.IsUnspecified() {
			p.HostIP = ip
		}
		out = append(out, p)
	}
	return out
}

func (s *Server) filesDir(id string) string { return filepath.Join(s.opts.Dir, id) }

// StopPodSandbox kills what runs in the sandbox and takes it off the network.
func (s *Server) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if errors.Is(err, runtime.ErrNotFound) {
		return &runtimeapi.StopPodSandboxResponse{}, nil
	}
	if err == nil {
		err = s.stopSandbox(ctx, &sb)
	}
	return &runtimeapi.StopPodSandboxResponse{}, err
}

// stopSandbox leaves the network of the agent's pods to the agent.
func (s *Server) stopSandbox(ctx context.Context, sb *runtime.SandboxStatus) error {
	if err := s.opts.Runtime.StopSandbox(ctx, sb.ID); err != nil {
		return err
	}
	n := s.opts.Network()
	if !sb.External || sb.HostNetwork || n == nil {
		return nil
	}
	return n.Detach(ctx, sb.ID)
}

// RemovePodSandbox removes the sandbox with its containers.
func (s *Server) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if errors.Is(err, runtime.ErrNotFound) {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	}
	if err == nil {
		err = s.removeSandbox(ctx, &sb)
	}
	return &runtimeapi.RemovePodSandboxResponse{}, err
}

func (s *Server) removeSandbox(ctx context.Context, sb *runtime.SandboxStatus) error {
	if err := s.stopSandbox(ctx, sb); err != nil {
		return err
	}
	if err := os.RemoveAll(s.filesDir(sb.ID)); err != nil {
		return err
	}
	return s.opts.Runtime.RemoveSandbox(ctx, sb.ID)
}

// PodSandboxStatus describes a sandbox.
func (s *Server) PodSandboxStatus(ctx context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.PodSandboxStatusResponse{Status: s.sandboxStatus(&sb), Timestamp: time.Now().UnixNano()}
	_, containers, err := s.opts.Runtime.List(ctx)
	for i := range containers {
		if containers[i].SandboxID == sb.ID {
			out.ContainersStatuses = append(out.ContainersStatuses, s.containerStatus(ctx, &containers[i]))
		}
	}
	if req.Verbose {
		out.Info = map[string]string{"info": asJSON(map[string]any{"netns": sb.NetNS, "external": sb.External})}
	}
	return out, err
}

// ListPodSandbox lists the sandboxes that a filter lets through.
func (s *Server) ListPodSandbox(ctx context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	items, err := s.listSandboxes(ctx, req.Filter)
	return &runtimeapi.ListPodSandboxResponse{Items: items}, err
}

func (s *Server) listSandboxes(ctx context.Context, f *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	sandboxes, _, err := s.opts.Runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.PodSandbox
	for i := range sandboxes {
		sb := listedSandbox(&sandboxes[i])
		if f != nil && (!strings.HasPrefix(sb.Id, f.Id) || f.State != nil && f.State.State != sb.State || !selects(f.LabelSelector, sb.Labels)) {
			continue
		}
		out = append(out, sb)
	}
	return out, nil
}

// StreamPodSandboxes is ListPodSandbox in parts.
func (s *Server) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, to grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	items, err := s.listSandboxes(to.Context(), req.Filter)
	return inParts(items, err, func(part []*runtimeapi.PodSandbox) error {
		return to.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: part})
	})
}

// UpdatePodSandboxResources changes the limits of the sandbox as a whole.
func (s *Server) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, s.opts.Runtime.UpdateResources(ctx, sb.ID, resources(req.Resources))
}
