// Package ocispec writes the OCI runtime configuration of a container: what a pod's container asks for, its
// image's settings and what the CRI's runtimes agree on as defaults (capabilities, mounts, masked paths,
// devices) put together. It decides only: everything it needs to know of the host comes in as a value.
package ocispec

import (
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"clipper/node/runtime"
)

// An Image is what counts of an image's configuration.
type Image struct {
	Entrypoint, Cmd, Env []string
	WorkDir              string
}

// A Sandbox is what the container joins. An empty path means the host's.
type Sandbox struct {
	Hostname               string
	NetNS, UTS, IPC, PID   string
	User                   string // its user namespace, whose own mounts show mapped owners
	HostPID                bool
	Shm                    string // directory to mount at /dev/shm
	HostnameFile           string // file to mount at /etc/hostname
	CgroupPath             string // of the container
	CgroupNamespace        bool   // a private one: cgroup v2
	HeldCapabilities       []string
	HostDevices            []specs.LinuxDevice // all of them, for privileged containers
	ThermalThrottle        []string            // masked, where the host has them
	AppArmor               *AppArmor           // nil: the kernel has none
	SELinux                bool                // the kernel has it
	LocalhostSeccompParsed *specs.LinuxSeccomp
}

// A Device is a host device that was found where the pod said.
type Device struct {
	specs.LinuxDevice
	Permissions string
}

// errNoCommand is worded as containerd words it.
var errNoCommand = errors.New("no command specified")

// Build returns the configuration of container c on rootfs, and whether the default seccomp profile applies.
func Build(c *runtime.Container, image *Image, sb *Sandbox, rootfs string, user specs.User, devices []Device) (*specs.Spec, bool, error) {
	args := Args(c, image)
	if len(args) == 0 {
		return nil, false, errNoCommand
	}
	sec := &c.Security
	oom := c.Resources.OOMScoreAdj
	caps := capabilities(sec, sb.HeldCapabilities)
	ambient := ambientCapabilities(sec, sb.HeldCapabilities)
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: rootfs, Readonly: sec.ReadOnlyRoot},
		Process: &specs.Process{
			Terminal: c.TTY,
			User:     user,
			Args:     args,
			Env:      environment(c, image, sb.Hostname),
			Cwd:      firstOf(c.WorkDir, image.WorkDir, "/"),
			Capabilities: &specs.LinuxCapabilities{
				Bounding: caps, Effective: caps, Permitted: caps,
				Inheritable: ambient, Ambient: ambient,
			},
			NoNewPrivileges: sec.NoNewPrivileges,
			OOMScoreAdj:     &oom,
		},
		Linux: &specs.Linux{
			CgroupsPath: sb.CgroupPath,
			Resources:   Resources(c.Resources),
			Namespaces:  namespaces(sb),
		},
	}
	spec.Mounts, spec.Linux.RootfsPropagation = mounts(c, sb)
	setDevices(spec.Linux, sec.Privileged, sb.HostDevices, devices)
	switch {
	case sec.Privileged || sec.UnmaskedProc:
	case sec.Paths != nil:
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = sec.Paths.Masked, sec.Paths.ReadOnly
	default:
		spec.Linux.MaskedPaths = append(slices.Clone(MaskedPaths), sb.ThermalThrottle...)
		spec.Linux.ReadonlyPaths = ReadonlyPaths
	}
	if sb.AppArmor != nil {
		var err error
		if spec.Process.ApparmorProfile, err = sb.AppArmor.profile(sec); err != nil {
			return nil, false, err
		}
	}
	if l := sec.SELinux; l != nil && sb.SELinux {
		spec.Process.SelinuxLabel, spec.Linux.MountLabel = labels(l)
	}
	defaultSeccomp := false
	switch {
	case sec.Privileged || sec.Seccomp == "Unconfined":
	case sec.Seccomp == "" || sec.Seccomp == "RuntimeDefault":
		defaultSeccomp = true
	default:
		spec.Linux.Seccomp = sb.LocalhostSeccompParsed
	}
	return spec, defaultSeccomp, nil
}

// Args is what runs: the pod's command replaces the image's entrypoint and its arguments, the pod's arguments
// alone replace only the image's.
func Args(c *runtime.Container, image *Image) []string {
	command, args := c.Command, c.Args
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	return slices.Concat(command, args)
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment merges what the image and the pod set; the later wins, in the place of the earlier.
func environment(c *runtime.Container, image *Image, hostname string) []string {
	env := []string{defaultPath}
	if c.TTY {
		env = append(env, "TERM=xterm")
	}
	if hostname != "" {
		env = append(env, "HOSTNAME="+hostname)
	}
	at := map[string]int{}
	for i, kv := range env {
		key, _, _ := strings.Cut(kv, "=")
		at[key] = i
	}
	for _, kv := range slices.Concat(image.Env, c.Env) {
		key, _, _ := strings.Cut(kv, "=")
		if i, ok := at[key]; ok {
			env[i] = kv
			continue
		}
		at[key] = len(env)
		env = append(env, kv)
	}
	return env
}

func namespaces(sb *Sandbox) []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if sb.User != "" {
		ns = append(ns, specs.LinuxNamespace{Type: specs.UserNamespace, Path: sb.User})
	}
	if !sb.HostPID {
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace, Path: sb.PID})
	}
	joined := []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: sb.NetNS},
		{Type: specs.UTSNamespace, Path: sb.UTS},
		{Type: specs.IPCNamespace, Path: sb.IPC},
	}
	for _, n := range joined {
		if n.Path != "" {
			ns = append(ns, n)
		}
	}
	if sb.CgroupNamespace {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

// Resources translates cgroup settings.
func Resources(r runtime.Resources) *specs.LinuxResources {
	out := &specs.LinuxResources{}
	if r.CPUShares != 0 || r.CPUQuota != 0 || r.CPUPeriod != 0 || r.CpusetCpus != "" || r.CpusetMems != "" {
		out.CPU = &specs.LinuxCPU{Cpus: r.CpusetCpus, Mems: r.CpusetMems}
		if r.CPUShares != 0 {
			out.CPU.Shares = &r.CPUShares
		}
		if r.CPUQuota != 0 {
			out.CPU.Quota = &r.CPUQuota
		}
		if r.CPUPeriod != 0 {
			out.CPU.Period = &r.CPUPeriod
		}
	}
	if r.MemoryLimit != 0 {
		out.Memory = &specs.LinuxMemory{Limit: &r.MemoryLimit}
	}
	setSwap(out, r)
	if r.OOMGroup {
		setUnified(out, "memory.oom.group", "1")
	}
	if r.PidsLimit != 0 {
		out.Pids = &specs.LinuxPids{Limit: &r.PidsLimit}
	}
	for size, limit := range r.HugepageLimit {
		out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: size, Limit: uint64(limit)})
	}
	slices.SortFunc(out.HugepageLimits, func(a, b specs.LinuxHugepageLimit) int { return strings.Compare(a.Pagesize, b.Pagesize) })
	return out
}

// setSwap limits swap: as the sum with memory where that is limited, else by the file that only version 2 has.
func setSwap(out *specs.LinuxResources, r runtime.Resources) {
	switch {
	case r.SwapLimit == nil:
	case r.MemoryLimit != 0:
		sum := r.MemoryLimit + *r.SwapLimit
		out.Memory.Swap = &sum
	default:
		setUnified(out, "memory.swap.max", strconv.FormatInt(*r.SwapLimit, 10))
	}
}

// setUnified sets a file of version 2 that the specification has no name for.
func setUnified(out *specs.LinuxResources, file, value string) {
	if out.Unified == nil {
		out.Unified = map[string]string{}
	}
	out.Unified[file] = value
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// clean is path.Clean, for comparing mount destinations.
func clean(p string) string { return path.Clean("/" + p) }
