package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// preflight checks what a node needs of the machine, before anything is made. Each fault says what to do.
func preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("must run as root, to make containers: try again with sudo, or run the control plane alone with --disable-agent")
	}
	var faults []error
	filesystems, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		faults = append(faults, fmt.Errorf("read /proc/filesystems: %w", err))
	} else if !strings.Contains(string(filesystems), "overlay") {
		faults = append(faults, errors.New("this kernel has no overlayfs: run 'modprobe overlay'"))
	}
	for _, ns := range []string{"net", "mnt", "pid", "ipc", "uts"} {
		if _, err := os.Stat("/proc/self/ns/" + ns); err != nil {
			faults = append(faults, fmt.Errorf("this kernel has no %s namespaces", ns))
		}
	}
	if fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
		faults = append(faults, fmt.Errorf("this kernel has no nftables: run 'modprobe nf_tables' (%w)", err))
	} else {
		unix.Close(fd)
	}
	if _, err := os.Stat("/sys/fs/cgroup"); err != nil {
		faults = append(faults, errors.New("no cgroups at /sys/fs/cgroup: mount them"))
	}
	return errors.Join(faults...)
}
