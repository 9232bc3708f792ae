package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"
)

// Prepare shares what plug-ins mount, and mounts the tmpfs for confidential content, unless an earlier agent already
// has.
func (m *Manager) Prepare() error {
	if err := share(string(m.cfg.RootDir)); err != nil {
		return err
	}
	if err := os.MkdirAll(m.cfg.PodsDir, 0o750); err != nil {
		return fmt.Errorf("create the pods' directory: %w", err)
	}
	if err := os.MkdirAll(m.cfg.MemoryDir, 0o750); err != nil {
		return fmt.Errorf("create the directory for volumes in memory: %w", err)
	}
	allocatable := m.cfg.Allocatable()
	return mountTmpfs(m.cfg.MemoryDir, allocatable.Memory().Value()/2, "0755")
}

// mountTmpfs mounts a tmpfs of at most size bytes on dir unless there is one.
func mountTmpfs(dir string, size int64, mode string) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	opts := "mode=" + mode
	if size > 0 {
		opts += ",size=" + strconv.FormatInt(size, 10)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, opts); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// isMountPoint asks the kernel whether something is mounted on path.
func isMountPoint(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	return false, errors.New("this kernel cannot tell mount points; Linux 5.8 or newer is needed")
}

// unmount takes down what is mounted on path, if anything is.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // EINVAL: not a mount point
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// unmountSubPaths takes down the parts of volumes that containers have mounted.
func (m *Manager) unmountSubPaths(uid types.UID) error {
	dir := filepath.Join(m.cfg.PodsDir, string(uid), "volume-subpaths")
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := unmount(path); err != nil {
			return err
		}
	}
	return removeTree(dir)
}

// removeFiles takes down what else is mounted for a pod and removes its volumes' directories.
func (m *Manager) removeFiles(uid types.UID) error {
	return errors.Join(
		removeTree(filepath.Join(m.cfg.PodsDir, string(uid), "volumes")),
		removeTree(filepath.Join(m.cfg.MemoryDir, string(uid))))
}

// removeTree removes a directory tree but never crosses into a mount: what is mounted below is not ours
// to delete. Such a mount, as one that a container shared with the host, is taken off first.
func removeTree(path string) error {
	parent, err := os.Open(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeAt(int(parent.Fd()), filepath.Base(path), path)
}

func removeAt(dirFD int, name, path string) error {
	err := unix.Unlinkat(dirFD, name, 0)
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY): // a file with a mount on it
		if err := unmount(path); err != nil {
			return err
		}
		return unix.Unlinkat(dirFD, name, 0)
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return fmt.Errorf("remove %s: %w", path, err)
	}
	fd, err := openDir(dirFD, name)
	if errors.Is(err, unix.EXDEV) {
		if err := unmount(path); err != nil {
			return err
		}
		fd, err = openDir(dirFD, name)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	d := os.NewFile(uintptr(fd), path)
	names, err := d.Readdirnames(-1)
	for _, n := range names {
		if rerr := removeAt(fd, n, filepath.Join(path, n)); rerr != nil {
			err = errors.Join(err, rerr)
		}
	}
	d.Close()
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(dirFD, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

func openDir(dirFD int, name string) (int, error) {
	return unix.Openat2(dirFD, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
}

// Sweep looks through what earlier agents have left, and removes what belongs to pods that keep does not know.
// What a driver is needed for is removed later, when the driver is there.
func (m *Manager) Sweep(keep func(types.UID) bool) error {
	pods, err := directories(m.cfg.PodsDir)
	errs := []error{err}
	inMemory, err := directories(m.cfg.MemoryDir)
	errs = append(errs, err)
	errs = append(errs, m.recallLocal(), m.recallISCSI(), m.recallCSI(pods))
	for _, uid := range slices.Compact(slices.Sorted(slices.Values(append(pods, inMemory...)))) {
		if keep(uid) {
			continue
		}
		if m.hasCSI(uid) {
			m.mu.Lock()
			m.orphans = append(m.orphans, uid)
			m.mu.Unlock()
			continue
		}
		errs = append(errs, m.Unmount(context.Background(), uid), m.removePodDir(uid))
	}
	m.mu.Lock()
	m.swept = true
	m.mu.Unlock()
	m.stirUp()
	m.cfg.InUseChanged()
	return errors.Join(errs...)
}

func directories(root string) ([]types.UID, error) {
	entries, err := os.ReadDir(root)
	out := make([]types.UID, 0, len(entries))
	for _, e := range entries {
		out = append(out, types.UID(e.Name()))
	}
	return out, err
}

// hasCSI reports whether a driver has given something to a pod, or may have.
func (m *Manager) hasCSI(uid types.UID) bool {
	dir := filepath.Join(m.cfg.PodsDir, string(uid))
	for _, sub := range []string{"volumes/kubernetes.io~csi", "volumeDevices/kubernetes.io~csi"} {
		if _, err := os.Stat(filepath.Join(dir, sub)); err == nil {
			return true
		}
	}
	return false
}

// removePodDir removes all else that is left of a pod.
func (m *Manager) removePodDir(uid types.UID) error {
	return removeTree(filepath.Join(m.cfg.PodsDir, string(uid)))
}
