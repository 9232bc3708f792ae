package embedded

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/ocispec"
)

// host is what containers' configurations depend on and does not change while we run.
type host struct {
	capabilities []string // what we hold, and can give
	unified      bool     // cgroup v2
	seLinux      bool
	appArmor     *ocispec.AppArmor // nil: there is none
	throttle     []string          // thermal_throttle directories: a side channel, masked
}

func readHost() (*host, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil, err
	}
	h := &host{}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "CapEff:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/self/status: %w", err)
			}
			h.capabilities = ocispec.CapabilityNames(mask)
		}
	}
	var st unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &st); err == nil {
		h.unified = st.Type == unix.CGROUP2_SUPER_MAGIC
	}
	h.seLinux = unix.Statfs("/sys/fs/selinux", &st) == nil && st.Type == unix.SELINUX_MAGIC
	enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if len(enabled) > 0 && enabled[0] == 'Y' {
		h.appArmor = &ocispec.AppArmor{Loaded: appArmorLoaded}
	}
	h.throttle, _ = filepath.Glob("/sys/devices/system/cpu/cpu*/thermal_throttle")
	return h, nil
}

// appArmorLoaded reports whether the kernel has a profile. The list has lines "name (mode)".
func appArmorLoaded(profile string) bool {
	list, err := os.ReadFile("/sys/kernel/security/apparmor/profiles")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(list)) {
		if name, _, ok := strings.Cut(line, " ("); ok && name == profile {
			return true
		}
	}
	return false
}

// hostDevices lists the device nodes below /dev, for privileged containers.
func hostDevices() ([]specs.LinuxDevice, error) {
	return devicesBelow("/dev", "/dev")
}

// ownDev are the entries of /dev that every container has of its own.
var ownDev = map[string]bool{
	"/dev/pts": true, "/dev/shm": true, "/dev/fd": true, "/dev/mqueue": true, "/dev/console": true, "/dev/ptmx": true,
}

// devicesBelow lists the device nodes at or below root, as they appear at or below as.
func devicesBelow(root, as string) ([]specs.LinuxDevice, error) {
	var out []specs.LinuxDevice
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil // gone meanwhile, or not for us
		case ownDev[p] && d.IsDir():
			return filepath.SkipDir
		case ownDev[p] || d.Type()&fs.ModeDevice == 0:
			return nil
		}
		dev, err := device(p, as+strings.TrimPrefix(p, root))
		if err == nil {
			out = append(out, dev)
		}
		return nil
	})
	return out, err
}

// device describes the node at hostPath, to be made at path.
func device(hostPath, path string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Stat(hostPath, &st); err != nil {
		return specs.LinuxDevice{}, &fs.PathError{Op: "stat", Path: hostPath, Err: err}
	}
	d := specs.LinuxDevice{
		Path: path, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), UID: &st.Uid, GID: &st.Gid,
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		d.Type = "b"
	case unix.S_IFCHR:
		d.Type = "c"
	default:
		return d, fmt.Errorf("%s is not a device", hostPath)
	}
	mode := fs.FileMode(st.Mode & 0o777)
	d.FileMode = &mode
	return d, nil
}

// resolveDevices finds the devices that a container asks for. A directory stands for all in it.
func resolveDevices(devices []runtime.Device) ([]ocispec.Device, error) {
	var out []ocispec.Device
	for _, d := range devices {
		at := d.Container
		if at == "" {
			at = d.Host
		}
		st, err := os.Stat(d.Host)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.Host, err)
		}
		if !st.IsDir() {
			node, err := device(d.Host, at)
			if err != nil {
				return nil, err
			}
			out = append(out, ocispec.Device{LinuxDevice: node, Permissions: d.Permissions})
			continue
		}
		nodes, err := devicesBelow(d.Host, at)
		if err != nil {
			return nil, err
		}
		for _, node := range nodes {
			out = append(out, ocispec.Device{LinuxDevice: node, Permissions: d.Permissions})
		}
	}
	return out, nil
}
