package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// CreateContainer makes a container that StartContainer runs.
func (r *Runtime) CreateContainer(ctx context.Context, c runtime.Container) (string, error) {
	remote, err := r.remote(ctx, c.SandboxID)
	if err != nil {
		return "", err
	}
	sandbox, ok := r.ids.sandbox(remote)
	if !ok {
		return "", fmt.Errorf("sandbox %s: %w", c.SandboxID, runtime.ErrNotFound)
	}
	img, err := r.images.ImageStatus(ctx, c.Image)
	if err != nil {
		return "", err
	}
	config, err := containerConfig(&c, img.ID, sandbox.config)
	if err != nil {
		return "", err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	req := &runtimeapi.CreateContainerRequest{PodSandboxId: remote, Config: config, SandboxConfig: sandbox.config}
	resp, err := r.service.CreateContainer(ctx, req)
	if err != nil {
		// An agent that was killed meanwhile may have left one of that name.
		if again := r.dropNamesake(ctx, remote, &c); again {
			resp, err = r.service.CreateContainer(ctx, req)
		}
	}
	if err != nil {
		return "", plain(err)
	}
	r.ids.addContainer(resp.ContainerId, remote)
	return resp.ContainerId, nil
}

// dropNamesake removes a container of the same name and attempt that was never started.
func (r *Runtime) dropNamesake(ctx context.Context, remote string, c *runtime.Container) (dropped bool) {
	list, err := r.service.ListContainers(ctx, &runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{PodSandboxId: remote}})
	if err != nil {
		return false
	}
	for _, other := range list.Containers {
		m := other.GetMetadata()
		if m.GetName() == c.Name && int(m.GetAttempt()) == c.Attempt && other.State == runtimeapi.ContainerState_CONTAINER_CREATED {
			dropped = r.RemoveContainer(ctx, other.Id) == nil
		}
	}
	return dropped
}

// containerConfig translates what the agent asks for. image is the ID of c.Image.
func containerConfig(c *runtime.Container, image string, sandbox *runtimeapi.PodSandboxConfig) (*runtimeapi.ContainerConfig, error) {
	out := &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(c.Attempt)},
		Image:    &runtimeapi.ImageSpec{Image: image, UserSpecifiedImage: c.Image},
		Command:  c.Command, Args: c.Args, WorkingDir: c.WorkDir,
		Labels: c.Labels, Annotations: c.Annotations,
		Stdin: c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux: &runtimeapi.LinuxContainerConfig{Resources: resources(&c.Resources), SecurityContext: securityContext(c, sandbox)},
	}
	var err error
	if out.LogPath, err = filepath.Rel(sandbox.LogDirectory, c.LogPath); err != nil || strings.HasPrefix(out.LogPath, "..") {
		return nil, fmt.Errorf("log file %s is not below the pod's log directory %s", c.LogPath, sandbox.LogDirectory)
	}
	for _, kv := range c.Env {
		key, value, _ := strings.Cut(kv, "=")
		out.Envs = append(out.Envs, &runtimeapi.KeyValue{Key: key, Value: []byte(value)})
	}
	for _, m := range c.Mounts {
		out.Mounts = append(out.Mounts, &runtimeapi.Mount{
			HostPath: m.Host, ContainerPath: m.Container, Readonly: m.ReadOnly, RecursiveReadOnly: m.RecursiveReadOnly,
			Propagation: propagations[m.Propagation],
		})
	}
	for _, d := range c.Devices {
		out.Devices = append(out.Devices, &runtimeapi.Device{HostPath: d.Host, ContainerPath: d.Container, Permissions: d.Permissions})
	}
	for _, name := range c.CDIDevices {
		out.CDIDevices = append(out.CDIDevices, &runtimeapi.CDIDevice{Name: name})
	}
	// SIGRTMIN+1 is SIGRTMINPLUS1 here.
	if n, ok := runtimeapi.Signal_value[strings.NewReplacer("+", "PLUS", "-", "MINUS").Replace(c.StopSignal)]; ok {
		out.StopSignal = runtimeapi.Signal(n)
	}
	return out, nil
}

var propagations = map[string]runtimeapi.MountPropagation{
	"HostToContainer": runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER,
	"Bidirectional":   runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL,
}

// StartContainer runs it.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	_, err := r.service.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: id})
	return plain(err)
}

// StopContainer asks the container to end and has it killed if it does not.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, callTime+grace)
	defer cancel()
	seconds := int64((grace + time.Second - 1) / time.Second)
	_, err := r.service.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: seconds})
	return gone(err)
}

// RemoveContainer removes it. One that runs is killed.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	_, err := r.service.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	if err = gone(err); err == nil {
		r.ids.forgetContainer(id)
	}
	return err
}

// UpdateResources changes the limits of a container, or of a sandbox's pod cgroup.
func (r *Runtime) UpdateResources(ctx context.Context, id string, res runtime.Resources) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	if remote, err := r.remote(ctx, id); err == nil {
		k, _ := r.ids.sandbox(remote)
		return makeCgroup(k.config.GetLinux().GetCgroupParent(), &res)
	}
	_, err := r.service.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: resources(&res)})
	return plain(err)
}

// ReopenLog starts a new log file.
func (r *Runtime) ReopenLog(ctx context.Context, id string) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	_, err := r.service.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	return plain(err)
}

// atOnce bounds the calls of a List.
const atOnce = 8

// List asks for everything that the runtime holds.
func (r *Runtime) List(ctx context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error) {
	pods, containers, err := r.lists(ctx)
	if err != nil {
		return nil, nil, err
	}
	sandboxes := make([]runtime.SandboxStatus, 0, len(pods))
	for _, p := range pods {
		sandboxes = append(sandboxes, r.sandboxStatus(p))
	}
	found := make([]*runtime.ContainerStatus, len(containers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, c := range containers {
		group.Go(func() error {
			st, err := r.Status(ctx, c.Id)
			if errors.Is(err, runtime.ErrNotFound) {
				return nil // removed meanwhile
			}
			found[i] = &st
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	out := make([]runtime.ContainerStatus, 0, len(found))
	for _, st := range found {
		if st != nil {
			out = append(out, *st)
		}
	}
	return sandboxes, out, nil
}

// lists asks for both lists and remembers who is who.
func (r *Runtime) lists(ctx context.Context) ([]*runtimeapi.PodSandbox, []*runtimeapi.Container, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	// Containers first: a container's sandbox is older than it, so that it is in the second list.
	containers, err := r.service.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, nil, plain(err)
	}
	pods, err := r.service.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, nil, plain(err)
	}
	for _, c := range containers.Containers {
		r.ids.addContainer(c.Id, c.PodSandboxId)
	}
	return pods.Items, containers.Containers, nil
}

// Status returns a container's status.
func (r *Runtime) Status(ctx context.Context, id string) (runtime.ContainerStatus, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	resp, err := r.service.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return runtime.ContainerStatus{}, plain(err)
	}
	return r.containerStatus(resp.Status), nil
}

func (r *Runtime) containerStatus(st *runtimeapi.ContainerStatus) runtime.ContainerStatus {
	out := runtime.ContainerStatus{
		ID: st.Id, Name: st.GetMetadata().GetName(), Attempt: int(st.GetMetadata().GetAttempt()),
		Image: st.GetImage().GetImage(), ImageID: st.ImageRef,
		State: states[st.State], CreatedAt: at(st.CreatedAt), StartedAt: at(st.StartedAt), FinishedAt: at(st.FinishedAt),
		ExitCode: int(st.ExitCode), Reason: st.Reason, Message: st.Message, OOMKilled: st.Reason == "OOMKilled",
		LogPath: st.LogPath, Labels: st.Labels, Annotations: st.Annotations,
	}
	out.SandboxID, out.PodUID = r.owner(st.Id)
	if specified := st.GetImage().GetUserSpecifiedImage(); specified != "" {
		out.Image = specified
	}
	if u := st.GetUser().GetLinux(); u != nil {
		out.User = &runtime.ContainerUser{UID: u.Uid, GID: u.Gid, SupplementalGroups: u.SupplementalGroups}
	}
	return out
}

// owner names a container's sandbox and pod. The former is the runtime's ID if the sandbox is not the agent's.
func (r *Runtime) owner(container string) (sandbox, podUID string) {
	remote := r.ids.sandboxOf(container)
	if k, ok := r.ids.sandbox(remote); ok {
		return k.id, k.config.Metadata.Uid
	}
	return remote, ""
}

var states = map[runtimeapi.ContainerState]runtime.State{
	runtimeapi.ContainerState_CONTAINER_CREATED: runtime.Created,
	runtimeapi.ContainerState_CONTAINER_RUNNING: runtime.Running,
	runtimeapi.ContainerState_CONTAINER_EXITED:  runtime.Exited,
	// What the runtime has lost sight of runs no more.
	runtimeapi.ContainerState_CONTAINER_UNKNOWN: runtime.Exited,
}

func at(nano int64) time.Time {
	if nano <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}
