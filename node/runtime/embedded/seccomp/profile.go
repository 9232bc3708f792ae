// Package seccomp holds the RuntimeDefault profile: the system calls a container may make when its pod does
// not say otherwise. The set is the one that docker and containerd have settled on; what is not listed fails
// with EPERM. A capability that is granted opens the calls that it governs.
package seccomp

import (
	_ "embed"
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// allowed lists the calls that are open to everyone, whatever their arguments.
//
//go:embed allowed.txt
var allowed string

// byCapability lists the calls that a capability opens.
var byCapability = map[string]string{
	"CAP_BPF":             "bpf",
	"CAP_DAC_READ_SEARCH": "open_by_handle_at",
	"CAP_PERFMON":         "perf_event_open",
	"CAP_SYSLOG":          "syslog",
	"CAP_SYS_ADMIN": "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr " +
		"lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl " +
		"quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
	"CAP_SYS_BOOT":       "reboot",
	"CAP_SYS_CHROOT":     "chroot",
	"CAP_SYS_MODULE":     "delete_module init_module finit_module",
	"CAP_SYS_NICE":       "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
	"CAP_SYS_PACCT":      "acct",
	"CAP_SYS_PTRACE":     "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
	"CAP_SYS_RAWIO":      "iopl ioperm",
	"CAP_SYS_TIME":       "settimeofday stime clock_settime clock_settime64",
	"CAP_SYS_TTY_CONFIG": "vhangup",
}

// byArch lists the calls that exist, and are harmless, on one architecture only.
var byArch = map[string]string{
	"amd64":   "arch_prctl modify_ldt",
	"386":     "modify_ldt",
	"arm64":   "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
	"arm":     "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
	"ppc64le": "sync_file_range2 swapcontext",
	"riscv64": "riscv_flush_icache",
	"s390x":   "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}

// architectures names the native architecture and those whose binaries the kernel also runs.
var architectures = map[string][]specs.Arch{
	"amd64":   {specs.ArchX86_64, specs.ArchX86},
	"386":     {specs.ArchX86},
	"arm64":   {specs.ArchAARCH64, specs.ArchARM},
	"arm":     {specs.ArchARM},
	"ppc64le": {specs.ArchPPC64LE},
	"riscv64": {specs.ArchRISCV64},
	"s390x":   {specs.ArchS390X, specs.ArchS390},
}

// personalities are the execution domains that a process may switch to: Linux, 32-bit Linux, either with
// the old uname, and the query.
var personalities = []uint64{0, 0x8, 0x20000, 0x20008, 0xffffffff}

// newNamespaces are the clone flags that need CAP_SYS_ADMIN.
const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP

// Default returns the RuntimeDefault profile for a process whose bounding set is capabilities. x32 says that the
// kernel runs x32 programs (amd64 with 32-bit pointers): few do, and the third architecture adds half to the time
// that it takes to compile the filter, which every container start pays for.
func Default(capabilities []string, x32 bool) *specs.LinuxSeccomp {
	p := profile(capabilities, runtime.GOARCH)
	if x32 {
		p.Architectures = append(slices.Clone(p.Architectures), specs.ArchX32)
	}
	return p
}

// Key tells which capabilities matter to the profile: equal keys, equal profiles.
func Key(capabilities []string) string {
	var relevant []string
	for _, c := range capabilities {
		if _, ok := byCapability[c]; ok {
			relevant = append(relevant, c)
		}
	}
	slices.Sort(relevant)
	return strings.Join(slices.Compact(relevant), ",")
}

func profile(capabilities []string, arch string) *specs.LinuxSeccomp {
	eperm := uint(unix.EPERM)
	p := &specs.LinuxSeccomp{
		DefaultAction:   specs.ActErrno,
		DefaultErrnoRet: &eperm,
		Architectures:   architectures[arch],
	}
	names := strings.Fields(allowed + " process_vm_readv process_vm_writev ptrace " + byArch[arch])
	for _, c := range strings.Split(Key(capabilities), ",") {
		names = append(names, strings.Fields(byCapability[c])...)
	}
	slices.Sort(names)
	p.Syscalls = append(p.Syscalls, allow(slices.Compact(names)...))
	p.Syscalls = append(p.Syscalls, conditional()...)
	if !slices.Contains(capabilities, "CAP_SYS_ADMIN") {
		p.Syscalls = append(p.Syscalls, cloneWithoutNamespaces(arch)...)
	}
	return p
}

// conditional returns the calls that are open for some arguments only.
func conditional() []specs.LinuxSyscall {
	// Sockets of every family but AF_ALG (38: kernel crypto, a rich source of kernel bugs) and AF_VSOCK (40: a
	// way around the network namespace to the hypervisor).
	rules := []specs.LinuxSyscall{
		allowIf("socket", specs.LinuxSeccompArg{Value: unix.AF_ALG, Op: specs.OpLessThan}),
		allowIf("socket", specs.LinuxSeccompArg{Value: unix.AF_ALG + 1, Op: specs.OpEqualTo}),
		allowIf("socket", specs.LinuxSeccompArg{Value: unix.AF_VSOCK, Op: specs.OpGreaterThan}),
	}
	for _, p := range personalities {
		rules = append(rules, allowIf("personality", specs.LinuxSeccompArg{Value: p, Op: specs.OpEqualTo}))
	}
	return rules
}

// cloneWithoutNamespaces opens clone for processes and threads. clone3 keeps its flags in memory, out of a
// filter's sight: ENOSYS makes the C library fall back to clone.
func cloneWithoutNamespaces(arch string) []specs.LinuxSyscall {
	flags := specs.LinuxSeccompArg{Value: newNamespaces, Op: specs.OpMaskedEqual}
	if arch == "s390x" {
		flags.Index = 1
	}
	enosys := uint(unix.ENOSYS)
	return []specs.LinuxSyscall{
		allowIf("clone", flags),
		{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys},
	}
}

func allow(names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: names, Action: specs.ActAllow}
}

func allowIf(name string, arg specs.LinuxSeccompArg) specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{name}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{arg}}
}
