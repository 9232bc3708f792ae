package shim

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/wire"
)

// libcontainerConfig turns what the agent asked for into libcontainer's terms.
func (s *Server) libcontainerConfig(id string, spec *wire.ContainerSpec) (*configs.Config, error) {
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{CgroupName: id, Spec: spec.OCI})
	if err != nil {
		return nil, fmt.Errorf("container %s: invalid configuration: %w", id, err)
	}
	if adj := config.OomScoreAdj; adj != nil {
		*adj = max(*adj, leastOOMScoreAdj())
	}
	if spec.DefaultSeccomp {
		p, err := s.profiles.get(spec.OCI.Process)
		if err != nil {
			return nil, err
		}
		config.Seccomp = p.config
	}
	if err := spellOutCgroupMounts(config); err != nil {
		return nil, fmt.Errorf("container %s: cgroup mounts: %w", id, err)
	}
	return config, nil
}

// leastOOMScoreAdj is the lowest value that a process of ours may have: lowering one takes CAP_SYS_RESOURCE.
var leastOOMScoreAdj = sync.OnceValue(func() int {
	const lowest = -1000
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return lowest
	}
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	own, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return own
})

// kernelRunsX32 reports whether the kernel has the x32 system calls, by trying getpid.
var kernelRunsX32 = sync.OnceValue(func() bool {
	const x32Bit = 0x40000000
	_, _, errno := unix.RawSyscall(x32Bit|unix.SYS_GETPID, 0, 0, 0)
	return errno == 0
})

// newProcess is the libcontainer process that p describes.
func newProcess(p *specs.Process) *libcontainer.Process {
	out := &libcontainer.Process{
		Args: p.Args, Env: p.Env, Cwd: p.Cwd,
		UID: int(p.User.UID), GID: int(p.User.GID),
		NoNewPrivileges: &p.NoNewPrivileges,
		AppArmorProfile: p.ApparmorProfile,
		Label:           p.SelinuxLabel,
		LogLevel:        "3", // warnings and up; what init dies of comes in the error
	}
	for _, g := range p.User.AdditionalGids {
		out.AdditionalGroups = append(out.AdditionalGroups, int(g))
	}
	if c := p.Capabilities; c != nil {
		out.Capabilities = &configs.Capabilities{
			Bounding: c.Bounding, Effective: c.Effective, Inheritable: c.Inheritable,
			Permitted: c.Permitted, Ambient: c.Ambient,
		}
	}
	return out
}

// setResources sets r's fields in a cgroup's configuration; those that are zero stay as they are.
func setResources(out *cgroups.Resources, r *specs.LinuxResources) error {
	spec := &specs.Spec{Linux: &specs.Linux{Resources: r}}
	cg, err := specconv.CreateCgroupConfig(&specconv.CreateOpts{Spec: spec}, nil)
	if err != nil {
		return err
	}
	in := cg.Resources
	if in.CpuShares != 0 {
		out.CpuShares, out.CpuWeight = in.CpuShares, in.CpuWeight
	}
	if in.CpuQuota != 0 {
		out.CpuQuota = in.CpuQuota
	}
	if in.CpuPeriod != 0 {
		out.CpuPeriod = in.CpuPeriod
	}
	if in.Memory != 0 {
		out.Memory, out.MemorySwap = in.Memory, in.MemorySwap
	}
	if in.PidsLimit != nil {
		out.PidsLimit = in.PidsLimit
	}
	if in.CpusetCpus != "" {
		out.CpusetCpus = in.CpusetCpus
	}
	if in.CpusetMems != "" {
		out.CpusetMems = in.CpusetMems
	}
	if len(in.HugetlbLimit) > 0 {
		out.HugetlbLimit = in.HugetlbLimit
	}
	if len(in.Unified) > 0 {
		out.Unified = in.Unified
	}
	return nil
}
