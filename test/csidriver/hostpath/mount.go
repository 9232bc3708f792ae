package hostpath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func mounted(path string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, err
}

// bind makes from appear at to, unless it does.
func bind(from, to string, readOnly bool) error {
	if is, err := mounted(to); err != nil || is {
		return err
	}
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	if !readOnly {
		return nil
	}
	return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
}

func bindFile(from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_RDONLY, 0o640)
	if err != nil {
		return err
	}
	f.Close()
	return bind(from, to, false)
}

func unmount(path string) error {
	if is, err := mounted(path); err != nil || !is {
		return err
	}
	return unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
}

// findLoop returns the loop device of a file, "" if it has none.
func findLoop(image string) (string, error) {
	var want unix.Stat_t
	if err := unix.Stat(image, &want); err != nil {
		return "", err
	}
	devices, err := filepath.Glob("/dev/loop[0-9]*")
	if err != nil {
		return "", err
	}
	for _, dev := range devices {
		f, err := os.Open(dev)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		if err == nil && info.Device == want.Dev && info.Inode == want.Ino {
			return dev, nil
		}
	}
	return "", nil
}

// attachLoop returns the loop device of a file, which it gets if it has none.
func attachLoop(image string) (string, error) {
	dev, err := findLoop(image)
	if err != nil || dev != "" {
		return dev, err
	}
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", fmt.Errorf("get a loop device: %w", err)
	}
	dev = fmt.Sprintf("/dev/loop%d", n)
	loop, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer loop.Close()
	if err := unix.IoctlSetInt(int(loop.Fd()), unix.LOOP_SET_FD, int(file.Fd())); err != nil {
		return "", fmt.Errorf("set up %s: %w", dev, err)
	}
	return dev, nil
}

func detachLoop(image string) error {
	if _, err := os.Stat(image); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	dev, err := findLoop(image)
	if err != nil || dev == "" {
		return err
	}
	return withDevice(dev, func(fd int) error { return unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0) })
}

func growLoop(image string, size int64) error {
	if err := os.Truncate(image, size); err != nil {
		return err
	}
	dev, err := findLoop(image)
	if err != nil || dev == "" {
		return err
	}
	return withDevice(dev, func(fd int) error { return unix.IoctlSetInt(fd, unix.LOOP_SET_CAPACITY, 0) })
}

func withDevice(dev string, fn func(fd int) error) error {
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fn(int(f.Fd())); err != nil {
		return fmt.Errorf("%s: %w", strings.TrimPrefix(dev, "/dev/"), err)
	}
	return nil
}
