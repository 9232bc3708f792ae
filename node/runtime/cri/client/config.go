package client

import (
	"path/filepath"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/ocispec"
)

// securityContext translates a container's credentials and confinement.
func securityContext(c *runtime.Container, sandbox *runtimeapi.PodSandboxConfig) *runtimeapi.LinuxContainerSecurityContext {
	s := &c.Security
	out := &runtimeapi.LinuxContainerSecurityContext{
		Capabilities: &runtimeapi.Capability{
			AddCapabilities: s.AddCapabilities, DropCapabilities: s.DropCapabilities, AddAmbientCapabilities: s.AmbientCapabilities,
		},
		Privileged: s.Privileged, ReadonlyRootfs: s.ReadOnlyRoot, NoNewPrivs: s.NoNewPrivileges,
		NamespaceOptions:   containerNamespaces(c, sandbox),
		SupplementalGroups: s.SupplementalGroups,
		Seccomp:            seccompProfile(s.Seccomp), Apparmor: appArmorProfile(s.AppArmor),
	}
	switch {
	case s.User != nil:
		out.RunAsUser = &runtimeapi.Int64Value{Value: *s.User}
	default:
		out.RunAsUsername = s.UserName
	}
	if s.Group != nil {
		out.RunAsGroup = &runtimeapi.Int64Value{Value: *s.Group}
	}
	if s.SupplementalStrict {
		out.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
	}
	switch {
	case s.Privileged || s.UnmaskedProc:
	case s.Paths != nil:
		out.MaskedPaths, out.ReadonlyPaths = s.Paths.Masked, s.Paths.ReadOnly
	default:
		out.MaskedPaths, out.ReadonlyPaths = ocispec.MaskedPaths, ocispec.ReadonlyPaths
	}
	return out
}

// containerNamespaces are the sandbox's, but for the container's own choice of PID namespace.
func containerNamespaces(c *runtime.Container, sandbox *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
	of := sandbox.Linux.SecurityContext.NamespaceOptions
	out := &runtimeapi.NamespaceOption{Network: of.Network, Pid: of.Pid, Ipc: of.Ipc, UsernsOptions: of.UsernsOptions}
	switch c.PID {
	case runtime.OwnPID:
		out.Pid = runtimeapi.NamespaceMode_CONTAINER
	case runtime.HostPID:
		out.Pid = runtimeapi.NamespaceMode_NODE
	case runtime.TargetPID:
		out.Pid, out.TargetId = runtimeapi.NamespaceMode_TARGET, c.TargetID
	}
	return out
}

func seccompProfile(name string) *runtimeapi.SecurityProfile {
	switch {
	case name == "" || name == "RuntimeDefault":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	case filepath.IsAbs(name):
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: name}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
}

// appArmorProfile is nil where the pod names none: naming one where the machine has no AppArmor is an error.
func appArmorProfile(name string) *runtimeapi.SecurityProfile {
	switch name {
	case "":
		return nil
	case "RuntimeDefault", "runtime/default":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	case "Unconfined", "unconfined":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: strings.TrimPrefix(name, "localhost/")}
}

// resources translates cgroup settings.
func resources(r *runtime.Resources) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{
		CpuShares: int64(r.CPUShares), CpuQuota: r.CPUQuota, CpuPeriod: int64(r.CPUPeriod),
		MemoryLimitInBytes: r.MemoryLimit, OomScoreAdj: int64(r.OOMScoreAdj), CpusetCpus: r.CpusetCpus, CpusetMems: r.CpusetMems,
	}
	if r.SwapLimit != nil {
		out.MemorySwapLimitInBytes = r.MemoryLimit + *r.SwapLimit // the interface counts both together
	}
	for size, limit := range r.HugepageLimit {
		out.HugepageLimits = append(out.HugepageLimits, &runtimeapi.HugepageLimit{PageSize: size, Limit: uint64(limit)})
	}
	return out
}
