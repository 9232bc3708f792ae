// Package mountpoint deals with directories that things are mounted on: it tells them from others, takes mounts down,
// removes trees without touching what is mounted in them, and shows parts of trees elsewhere.
package mountpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Is asks the kernel whether something is mounted on path.
func Is(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	return false, errors.New("this kernel cannot tell mount points; Linux 5.8 or newer is needed")
}

// Unmount takes down all that is mounted on path, if anything is. A process that still has a file open keeps its view:
// the mounts are detached.
func Unmount(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil // EINVAL: not a mount point
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// Tmpfs mounts a tmpfs of at most size bytes on dir unless there is one.
func Tmpfs(dir string, size int64, mode string) error {
	mounted, err := Is(dir)
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

// RemoveTree removes a directory tree but never crosses into a mount: what is mounted below is not ours
// to delete. Such a mount, as one that a container shared with the host, is taken off first.
func RemoveTree(path string) error {
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
		if err := Unmount(path); err != nil {
			return err
		}
		return unix.Unlinkat(dirFD, name, 0)
	case !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM):
		return fmt.Errorf("remove %s: %w", path, err)
	}
	fd, err := openDir(dirFD, name)
	if errors.Is(err, unix.EXDEV) {
		if err := Unmount(path); err != nil {
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
