package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// containerSpec translates what is asked for.
func (s *Server) containerSpec(sandbox string, c *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) (runtime.Container, error) {
	sec, err := security(c.GetLinux().GetSecurityContext())
	if err != nil {
		return runtime.Container{}, err
	}
	out := runtime.Container{
		SandboxID: sandbox, Name: c.Metadata.Name, Attempt: int(c.Metadata.Attempt),
		Image: c.GetImage().GetImage(), Command: c.Command, Args: c.Args, WorkDir: c.WorkingDir,
		TTY: c.Tty, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		Resources: resources(c.GetLinux().GetResources()), Security: sec,
		Labels: c.Labels, Annotations: c.Annotations,
	}
	for _, kv := range c.Envs {
		out.Env = append(out.Env, kv.Key+"="+string(kv.Value))
	}
	for _, d := range c.Devices {
		out.Devices = append(out.Devices, runtime.Device{Host: d.HostPath, Container: d.ContainerPath, Permissions: d.Permissions})
	}
	for _, d := range c.CDIDevices {
		out.CDIDevices = append(out.CDIDevices, d.Name)
	}
	if sig := c.StopSignal; sig != runtimeapi.Signal_RUNTIME_DEFAULT {
		// SIGRTMINPLUS1 is SIGRTMIN+1 elsewhere.
		out.StopSignal = strings.NewReplacer("PLUS", "+", "MINUS", "-").Replace(sig.String())
	}
	if c.LogPath != "" && pod.GetLogDirectory() != "" {
		out.LogPath = filepath.Join(pod.LogDirectory, c.LogPath)
	}
	ns := c.GetLinux().GetSecurityContext().GetNamespaceOptions()
	switch ns.GetPid() {
	case runtimeapi.NamespaceMode_CONTAINER:
		out.PID = runtime.OwnPID
	case runtimeapi.NamespaceMode_NODE:
		out.PID = runtime.HostPID
	case runtimeapi.NamespaceMode_TARGET:
		out.PID, out.TargetID = runtime.TargetPID, ns.TargetId
	}
	if out.Mounts, err = mounts(c.Mounts); err != nil {
		return out, err
	}
	out.Mounts = append(out.Mounts, fileMounts(s.filesDir(sandbox), out.Mounts, sec.ReadOnlyRoot)...)
	return out, nil
}

// mounts translates mounts and makes the directories of the host that are missing, as containerd does.
func mounts(list []*runtimeapi.Mount) ([]runtime.Mount, error) {
	var out []runtime.Mount
	for _, m := range list {
		if m.Image != nil && m.Image.Image != "" {
			return nil, status.Error(codes.Unimplemented, "images cannot be mounted by this interface")
		}
		if m.RecursiveReadOnly && (!m.Readonly || m.Propagation != runtimeapi.MountPropagation_PROPAGATION_PRIVATE) {
			return nil, status.Errorf(codes.InvalidArgument, "recursive_read_only of mount %q needs readonly and private propagation", m.ContainerPath)
		}
		if err := os.MkdirAll(m.HostPath, 0o755); err != nil && !exists(m.HostPath) {
			return nil, fmt.Errorf("failed to mkdir %q: %w", m.HostPath, err)
		}
		at := runtime.Mount{Host: m.HostPath, Container: m.ContainerPath, ReadOnly: m.Readonly, RecursiveReadOnly: m.RecursiveReadOnly}
		for name, p := range propagations {
			if p == m.Propagation {
				at.Propagation = name
			}
		}
		out = append(out, at)
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// security translates a security context; nil is a container that asks for nothing.
func security(c *runtimeapi.LinuxContainerSecurityContext) (runtime.Security, error) {
	out := runtime.Security{Paths: &runtime.GuardedPaths{Masked: c.GetMaskedPaths(), ReadOnly: c.GetReadonlyPaths()}}
	if c == nil {
		return out, nil
	}
	out.UserName, out.SupplementalGroups = c.RunAsUsername, c.SupplementalGroups
	if c.RunAsUser != nil {
		out.User = &c.RunAsUser.Value
	}
	if c.RunAsGroup != nil {
		if c.RunAsUser == nil && c.RunAsUsername == "" {
			return out, status.Error(codes.InvalidArgument, "user group is specified without user")
		}
		out.Group = &c.RunAsGroup.Value
	}
	out.SupplementalStrict = c.SupplementalGroupsPolicy == runtimeapi.SupplementalGroupsPolicy_Strict
	out.Privileged, out.ReadOnlyRoot, out.NoNewPrivileges = c.Privileged, c.ReadonlyRootfs, c.NoNewPrivs
	out.AddCapabilities, out.DropCapabilities = c.GetCapabilities().GetAddCapabilities(), c.GetCapabilities().GetDropCapabilities()
	out.AmbientCapabilities = c.GetCapabilities().GetAddAmbientCapabilities()
	var err error
	if out.Seccomp, err = seccompProfile(c); err != nil {
		return out, err
	}
	out.AppArmor = appArmorProfile(c)
	return out, nil
}

// seccompProfile is the runtime's name of a profile. Nothing asked for means none, unlike in pods.
func seccompProfile(c *runtimeapi.LinuxContainerSecurityContext) (string, error) {
	p, path := c.Seccomp, c.SeccompProfilePath //nolint:staticcheck // old clients send this one
	switch {
	case p == nil && (path == "" || path == "unconfined"):
		return "Unconfined", nil
	case p == nil && (path == "runtime/default" || path == "docker/default"):
		return "RuntimeDefault", nil
	case p == nil:
		p = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: path}
	}
	switch p.ProfileType {
	case runtimeapi.SecurityProfile_RuntimeDefault:
		return "RuntimeDefault", nil
	case runtimeapi.SecurityProfile_Localhost:
		file := strings.TrimPrefix(p.LocalhostRef, "localhost/")
		if !filepath.IsAbs(file) {
			return "", status.Errorf(codes.InvalidArgument, "seccomp profile %q: give an absolute path", p.LocalhostRef)
		}
		return file, nil
	}
	return "Unconfined", nil
}

func appArmorProfile(c *runtimeapi.LinuxContainerSecurityContext) string {
	p := c.Apparmor
	switch {
	case p == nil:
		return c.ApparmorProfile //nolint:staticcheck // old clients send this one
	case p.ProfileType == runtimeapi.SecurityProfile_Localhost:
		return p.LocalhostRef
	}
	return p.ProfileType.String()
}

// resources translates cgroup settings; nil sets nothing.
func resources(r *runtimeapi.LinuxContainerResources) runtime.Resources {
	if r == nil {
		return runtime.Resources{}
	}
	out := runtime.Resources{
		CPUShares: uint64(max(r.CpuShares, 0)), CPUQuota: r.CpuQuota, CPUPeriod: uint64(max(r.CpuPeriod, 0)),
		MemoryLimit: r.MemoryLimitInBytes, OOMScoreAdj: int(r.OomScoreAdj), CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
	}
	if both := r.MemorySwapLimitInBytes; both > 0 && r.MemoryLimitInBytes > 0 {
		swap := max(both-r.MemoryLimitInBytes, 0) // the interface counts both together
		out.SwapLimit = &swap
	}
	for _, h := range r.HugepageLimits {
		if out.HugepageLimit == nil {
			out.HugepageLimit = map[string]int64{}
		}
		out.HugepageLimit[h.PageSize] = int64(h.Limit)
	}
	return out
}
