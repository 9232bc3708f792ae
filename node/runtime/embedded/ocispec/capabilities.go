package ocispec

import (
	"slices"
	"strings"

	"clipper/node/runtime"
)

// defaultCapabilities are what a container has when its pod says nothing.
var defaultCapabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
	"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// names are the kernel's capabilities by number (linux/capability.h).
var names = strings.Fields(`CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID
	CAP_SETUID CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW
	CAP_IPC_LOCK CAP_IPC_OWNER CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN
	CAP_SYS_BOOT CAP_SYS_NICE CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE
	CAP_AUDIT_CONTROL CAP_SETFCAP CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
	CAP_AUDIT_READ CAP_PERFMON CAP_BPF CAP_CHECKPOINT_RESTORE`)

// CapabilityNames lists the capabilities that are set in mask, a value of /proc/<pid>/status.
func CapabilityNames(mask uint64) []string {
	var out []string
	for i, name := range names {
		if mask&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// capabilities is what the container gets: its pod's choice, as far as we hold it to give.
func capabilities(sec *runtime.Security, held []string) []string {
	if sec.Privileged {
		return held
	}
	set := map[string]bool{}
	put := func(list []string, on bool) {
		for _, c := range list {
			set[c] = on
		}
	}
	put(defaultCapabilities, true)
	// ALL comes first, whatever the order: adding or dropping one by name then refines it.
	if containsAll(sec.AddCapabilities) {
		put(held, true)
	}
	if containsAll(sec.DropCapabilities) {
		clear(set)
	}
	put(qualified(sec.AddCapabilities), true)
	put(ambientCapabilities(sec, held), true)
	put(qualified(sec.DropCapabilities), false)
	var out []string
	for _, c := range held {
		if set[c] {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

// ambientCapabilities are kept by programs of users that are not root. Those we do not hold cannot be given.
func ambientCapabilities(sec *runtime.Security, held []string) []string {
	if containsAll(sec.AmbientCapabilities) {
		return held
	}
	return slices.DeleteFunc(qualified(sec.AmbientCapabilities), func(c string) bool { return !slices.Contains(held, c) })
}

func containsAll(list []string) bool {
	return slices.ContainsFunc(list, func(c string) bool { return strings.EqualFold(c, "ALL") })
}

// qualified brings names to the kernel's form.
func qualified(list []string) []string {
	out := make([]string, 0, len(list))
	for _, c := range list {
		c = strings.ToUpper(c)
		if !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		out = append(out, c)
	}
	return out
}
