package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// The label of the agent's sandboxes, which has their ID, and the annotation that says what was asked for.
const (
	idLabel        = "clipper.dev/sandbox"
	specAnnotation = "clipper.dev/sandbox"
)

// sandboxConfig translates what the agent asks for.
func sandboxConfig(s *runtime.Sandbox) (*runtimeapi.PodSandboxConfig, error) {
	spec := *s
	spec.Labels, spec.Annotations = nil, nil // they are there anyway
	saved, err := json.Marshal(&spec)
	if err != nil {
		return nil, err
	}
	labels, annotations := maps.Clone(s.Labels), maps.Clone(s.Annotations)
	if labels == nil {
		labels = map[string]string{}
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	labels[idLabel], annotations[specAnnotation] = s.ID, string(saved)
	c := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: s.Pod, Namespace: s.Namespace, Uid: s.PodUID, Attempt: uint32(s.Attempt)},
		Hostname: s.Hostname, LogDirectory: s.LogDir, Labels: labels, Annotations: annotations,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: s.CgroupParent, Sysctls: s.Sysctls,
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
				NamespaceOptions: namespaces(s),
				Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
			},
			Resources: resources(&s.Resources),
		},
	}
	if s.HostNetwork {
		c.Hostname = ""
	}
	for _, p := range s.Ports {
		m := &runtimeapi.PortMapping{HostPort: int32(p.HostPort), ContainerPort: int32(p.ContainerPort)}
		m.Protocol = runtimeapi.Protocol(runtimeapi.Protocol_value[p.Protocol])
		if p.HostIP.IsValid() {
			m.HostIp = p.HostIP.String()
		}
		c.PortMappings = append(c.PortMappings, m)
	}
	return c, nil
}

// namespaces says what the sandbox shares with the host and its containers with each other.
func namespaces(s *runtime.Sandbox) *runtimeapi.NamespaceOption {
	out := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	switch {
	case s.HostPID:
		out.Pid = runtimeapi.NamespaceMode_NODE
	case s.SharedPID:
		out.Pid = runtimeapi.NamespaceMode_POD
	}
	if s.HostNetwork {
		out.Network = runtimeapi.NamespaceMode_NODE
	}
	if s.HostIPC {
		out.Ipc = runtimeapi.NamespaceMode_NODE
	}
	if u := s.UserNS; u != nil {
		ids := []*runtimeapi.IDMapping{{HostId: u.Host, Length: u.Length}}
		out.UsernsOptions = &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: ids, Gids: ids}
	}
	return out
}

// RunSandbox makes the pod's cgroup and the sandbox. One that is there already, but of no use, is replaced.
func (r *Runtime) RunSandbox(ctx context.Context, s runtime.Sandbox) error {
	config, err := sandboxConfig(&s)
	if err != nil {
		return err
	}
	if remote, ready, err := r.find(ctx, s.ID); err != nil || ready {
		return err
	} else if remote != "" {
		if err := r.RemoveSandbox(ctx, s.ID); err != nil {
			return err
		}
	}
	if err := makeCgroup(s.CgroupParent, &s.Resources); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*callTime) // as upstream: the network takes its time
	defer cancel()
	resp, err := r.service.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: s.Handler})
	if err != nil {
		return plain(err)
	}
	r.ids.add(resp.PodSandboxId, known{s.ID, config})
	return nil
}

// find looks a sandbox of the agent's up, and says whether it is ready. remote is "" if there is none.
func (r *Runtime) find(ctx context.Context, id string) (remote string, ready bool, err error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	list, err := r.service.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{
		LabelSelector: map[string]string{idLabel: id},
	}})
	if err != nil {
		return "", false, plain(err)
	}
	for _, p := range list.Items {
		if r.note(p.Id, p.Annotations, p.Labels) != nil {
			return p.Id, p.State == runtimeapi.PodSandboxState_SANDBOX_READY, nil
		}
	}
	return "", false, nil
}

// note remembers a sandbox that the runtime has named and returns what was asked for, nil if it is not the agent's.
func (r *Runtime) note(remote string, annotations, labels map[string]string) *runtime.Sandbox {
	if labels[idLabel] == "" {
		return nil
	}
	spec := &runtime.Sandbox{}
	if err := json.Unmarshal([]byte(annotations[specAnnotation]), spec); err != nil {
		return nil
	}
	if _, ok := r.ids.sandbox(remote); ok {
		return spec
	}
	spec.Labels, spec.Annotations = withoutKey(labels, idLabel), withoutKey(annotations, specAnnotation)
	if config, err := sandboxConfig(spec); err == nil {
		r.ids.add(remote, known{spec.ID, config})
	}
	return spec
}

func withoutKey(in map[string]string, key string) map[string]string {
	out := maps.Clone(in)
	delete(out, key)
	return out
}

// remote returns the runtime's ID of a sandbox.
func (r *Runtime) remote(ctx context.Context, id string) (string, error) {
	if remote, ok := r.ids.remote(id); ok {
		return remote, nil
	}
	remote, _, err := r.find(ctx, id)
	if err == nil && remote == "" {
		err = fmt.Errorf("sandbox %s: %w", id, runtime.ErrNotFound)
	}
	return remote, err
}

// StopSandbox kills what runs in it and takes it off the network.
func (r *Runtime) StopSandbox(ctx context.Context, id string) error {
	remote, err := r.remote(ctx, id)
	if err != nil {
		return gone(err)
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	_, err = r.service.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: remote})
	return gone(err)
}

// RemoveSandbox removes it with its containers and the pod's cgroup.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	remote, err := r.remote(ctx, id)
	if err != nil {
		return gone(err)
	}
	if err := r.StopSandbox(ctx, id); err != nil {
		return err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	if _, err := r.service.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: remote}); gone(err) != nil {
		return plain(err)
	}
	if k, ok := r.ids.sandbox(remote); ok {
		if err := removeCgroup(k.config.Linux.CgroupParent); err != nil {
			return err
		}
	}
	r.ids.forget(remote)
	return nil
}

// SandboxStatus returns a sandbox's status, with its addresses.
func (r *Runtime) SandboxStatus(ctx context.Context, id string) (runtime.SandboxStatus, error) {
	remote, err := r.remote(ctx, id)
	if err != nil {
		return runtime.SandboxStatus{}, err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	resp, err := r.service.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: remote})
	if err != nil {
		if err = plain(err); errors.Is(err, runtime.ErrNotFound) {
			r.ids.forget(remote)
		}
		return runtime.SandboxStatus{}, err
	}
	st := resp.Status
	out := r.sandboxStatus(&runtimeapi.PodSandbox{
		Id: st.Id, Metadata: st.Metadata, State: st.State, CreatedAt: st.CreatedAt, Labels: st.Labels,
		Annotations: st.Annotations, RuntimeHandler: st.RuntimeHandler,
	})
	all := []string{st.GetNetwork().GetIp()}
	for _, more := range st.GetNetwork().GetAdditionalIps() {
		all = append(all, more.Ip)
	}
	for _, text := range all {
		if ip, err := netip.ParseAddr(text); err == nil && !out.HostNetwork {
			out.IPs = append(out.IPs, ip)
		}
	}
	return out, nil
}

func (r *Runtime) sandboxStatus(p *runtimeapi.PodSandbox) runtime.SandboxStatus {
	out := runtime.SandboxStatus{
		ID: p.Id, PodUID: p.GetMetadata().GetUid(), Namespace: p.GetMetadata().GetNamespace(), Pod: p.GetMetadata().GetName(),
		Attempt: int(p.GetMetadata().GetAttempt()), Ready: p.State == runtimeapi.PodSandboxState_SANDBOX_READY,
		CreatedAt: time.Unix(0, p.CreatedAt), Labels: withoutKey(p.Labels, idLabel), Annotations: withoutKey(p.Annotations, specAnnotation),
		Handler: p.RuntimeHandler, External: true,
	}
	if spec := r.note(p.Id, p.Annotations, p.Labels); spec != nil {
		out.ID, out.External = spec.ID, false
		out.HostNetwork, out.HostPID, out.HostIPC, out.SharedPID = spec.HostNetwork, spec.HostPID, spec.HostIPC, spec.SharedPID
	}
	return out
}

// SandboxIDs lists all sandboxes of the runtime, others' too, by the runtime's own IDs: CNI plug-ins know those.
func (r *Runtime) SandboxIDs(ctx context.Context) (map[string]bool, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	list, err := r.service.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, plain(err)
	}
	out := make(map[string]bool, len(list.Items))
	for _, p := range list.Items {
		out[p.Id] = true
	}
	return out, nil
}
