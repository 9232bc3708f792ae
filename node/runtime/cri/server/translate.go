package server

import (
	"context"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

func nano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func sandboxMetadata(sb *runtime.SandboxStatus) *runtimeapi.PodSandboxMetadata {
	return &runtimeapi.PodSandboxMetadata{Name: sb.Pod, Namespace: sb.Namespace, Uid: sb.PodUID, Attempt: uint32(sb.Attempt)}
}

func sandboxState(sb *runtime.SandboxStatus) runtimeapi.PodSandboxState {
	if sb.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func listedSandbox(sb *runtime.SandboxStatus) *runtimeapi.PodSandbox {
	return &runtimeapi.PodSandbox{
		Id: sb.ID, Metadata: sandboxMetadata(sb), State: sandboxState(sb), CreatedAt: nano(sb.CreatedAt),
		Labels: sb.Labels, Annotations: sb.Annotations, RuntimeHandler: sb.Handler,
	}
}

func (s *Server) sandboxStatus(sb *runtime.SandboxStatus) *runtimeapi.PodSandboxStatus {
	out := &runtimeapi.PodSandboxStatus{
		Id: sb.ID, Metadata: sandboxMetadata(sb), State: sandboxState(sb), CreatedAt: nano(sb.CreatedAt),
		Labels: sb.Labels, Annotations: sb.Annotations, RuntimeHandler: sb.Handler,
		Network: &runtimeapi.PodSandboxNetworkStatus{},
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: namespaces(sb)}},
	}
	for i, ip := range s.addresses(sb) {
		if i == 0 {
			out.Network.Ip = ip.String()
		} else {
			out.Network.AdditionalIps = append(out.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip.String()})
		}
	}
	return out
}

func namespaces(sb *runtime.SandboxStatus) *runtimeapi.NamespaceOption {
	out := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if sb.HostNetwork {
		out.Network = runtimeapi.NamespaceMode_NODE
	}
	if sb.HostIPC {
		out.Ipc = runtimeapi.NamespaceMode_NODE
	}
	switch {
	case sb.HostPID:
		out.Pid = runtimeapi.NamespaceMode_NODE
	case sb.SharedPID:
		out.Pid = runtimeapi.NamespaceMode_POD
	}
	return out
}

// propagations are the CRI's names of mount propagation by the runtime's.
var propagations = map[string]runtimeapi.MountPropagation{
	"HostToContainer": runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
	"Bidirectional":   runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL,
}

func containerMetadata(c *runtime.ContainerStatus) *runtimeapi.ContainerMetadata {
	return &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(c.Attempt)}
}

func containerState(state runtime.State) runtimeapi.ContainerState {
	switch state {
	case runtime.Created:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case runtime.Running:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case runtime.Exited:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// imageID is the ID of the image a container was made from, "" if the image has gone.
func (s *Server) imageID(ctx context.Context, c *runtime.ContainerStatus) string {
	for _, ref := range []string{c.ImageID, c.Image} {
		if img, err := s.opts.Images.ImageStatus(ctx, ref); err == nil {
			return img.ID
		}
	}
	return ""
}

func (s *Server) listedContainer(ctx context.Context, c *runtime.ContainerStatus) *runtimeapi.Container {
	return &runtimeapi.Container{
		Id: c.ID, PodSandboxId: c.SandboxID, Metadata: containerMetadata(c), State: containerState(c.State),
		Image: &runtimeapi.ImageSpec{Image: c.Image}, ImageRef: c.ImageID, ImageId: s.imageID(ctx, c),
		CreatedAt: nano(c.CreatedAt), Labels: c.Labels, Annotations: c.Annotations,
	}
}

func (s *Server) containerStatus(ctx context.Context, c *runtime.ContainerStatus) *runtimeapi.ContainerStatus {
	out := &runtimeapi.ContainerStatus{
		Id: c.ID, Metadata: containerMetadata(c), State: containerState(c.State),
		CreatedAt: nano(c.CreatedAt), StartedAt: nano(c.StartedAt), FinishedAt: nano(c.FinishedAt),
		ExitCode: int32(c.ExitCode), Reason: c.Reason, Message: c.Message,
		Image: &runtimeapi.ImageSpec{Image: c.Image}, ImageRef: c.ImageID, ImageId: s.imageID(ctx, c),
		Labels: c.Labels, Annotations: c.Annotations, LogPath: c.LogPath,
	}
	for _, m := range c.Mounts {
		if filepath.Dir(m.Host) != s.filesDir(c.SandboxID) { // what we have added is nobody's business
			out.Mounts = append(out.Mounts, &runtimeapi.Mount{
				HostPath: m.Host, ContainerPath: m.Container, Readonly: m.ReadOnly, RecursiveReadOnly: m.RecursiveReadOnly,
				Propagation: propagations[m.Propagation],
			})
		}
	}
	if u := c.User; u != nil {
		out.User = &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: u.UID, Gid: u.GID, SupplementalGroups: u.SupplementalGroups}}
	}
	return out
}
