package ocispec

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"clipper/node/runtime"
)

// MaskedPaths and ReadonlyPaths are what nothing in a container may see, or write to. They are the kubelet's (securityContext.procMount: Default).
var (
	MaskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap",
		"/sys/firmware",
	}
	ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// mounts returns the container's mounts in the order to make them, and the propagation that its root needs.
func mounts(c *runtime.Container, sb *Sandbox) (all []specs.Mount, rootPropagation string) {
	access := "ro"
	if c.Security.Privileged {
		access = "rw"
	}
	all = []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
	taken := map[string]bool{}
	for _, m := range c.Mounts {
		taken[clean(m.Container)] = true
	}
	bind := func(m runtime.Mount) specs.Mount { return bind(m, sb.User != "" && !m.Unmapped) }
	all = slices.DeleteFunc(all, func(m specs.Mount) bool { return taken[m.Destination] })
	if sb.Shm != "" && !taken["/dev/shm"] {
		all = append(all, bind(runtime.Mount{Host: sb.Shm, Container: "/dev/shm"}))
	}
	if sb.HostnameFile != "" && !taken["/etc/hostname"] {
		all = append(all, bind(runtime.Mount{Host: sb.HostnameFile, Container: "/etc/hostname", ReadOnly: c.Security.ReadOnlyRoot}))
	}
	own := slices.Clone(c.Mounts)
	// A mount below another one comes after it; otherwise the pod's order stays.
	slices.SortStableFunc(own, func(a, b runtime.Mount) int { return depth(a.Container) - depth(b.Container) })
	for _, m := range own {
		all = append(all, bind(m))
		switch {
		case m.Propagation == "Bidirectional":
			rootPropagation = "rshared"
		case m.Propagation == "HostToContainer" && rootPropagation == "":
			rootPropagation = "rslave"
		}
	}
	return all, rootPropagation
}

// bind returns a bind mount; mapped shows it with the owners of the container's user namespace.
func bind(m runtime.Mount, mapped bool) specs.Mount {
	options := []string{"rbind", "rprivate"}
	switch m.Propagation {
	case "HostToContainer":
		options[1] = "rslave"
	case "Bidirectional":
		options[1] = "rshared"
	}
	switch {
	case m.ReadOnly && m.RecursiveReadOnly:
		options = append(options, "rro")
	case m.ReadOnly:
		options = append(options, "ro")
	default:
		options = append(options, "rw")
	}
	if mapped {
		options = append(options, "idmap")
	}
	return specs.Mount{Destination: clean(m.Container), Type: "bind", Source: m.Host, Options: options}
}

func depth(p string) int {
	if p = clean(p); p == "/" {
		return 0
	}
	return strings.Count(p, "/")
}

// setDevices sets the device nodes and the rules for them. What is not allowed is denied; the runtime adds the
// usual ones (null, zero, full, random, urandom, tty, pts).
func setDevices(linux *specs.Linux, privileged bool, host []specs.LinuxDevice, devices []Device) {
	if privileged {
		linux.Devices = host
		linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
	} else {
		linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	}
	for _, d := range devices {
		linux.Devices = slices.DeleteFunc(slices.Clone(linux.Devices), func(o specs.LinuxDevice) bool { return o.Path == d.Path })
		linux.Devices = append(linux.Devices, d.LinuxDevice)
		if !privileged {
			major, minor := d.Major, d.Minor
			linux.Resources.Devices = append(linux.Resources.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: firstOf(d.Permissions, "rwm"),
			})
		}
	}
}
