package mountpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS

// BindInside shows on target what sub is under base, which it never leaves, whatever links lead there: what is mounted is
// what was looked at. Directories that are missing on the way to sub are made. What was mounted on target before goes.
func BindInside(base, sub, target string) error {
	fd, err := openInside(base, sub)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return bind(fd, target)
}

// openInside opens sub under base, making missing directories with base's mode. It never leaves base.
func openInside(base, sub string) (int, error) {
	root, err := unix.Open(base, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open volume %s: %w", base, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath})
	if !errors.Is(err, unix.ENOENT) {
		return fd, outside(sub, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return -1, err
	}
	path := ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		if err := makeInside(root, path, part, st.Mode&0o7777); err != nil {
			return -1, outside(sub, err)
		}
		path = filepath.Join(path, part)
	}
	fd, err = unix.Openat2(root, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath})
	return fd, outside(sub, err)
}

func outside(sub string, err error) error {
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("subPath %q leads out of the volume", sub)
	}
	return err
}

func makeInside(root int, parent, name string, mode uint32) error {
	if parent == "" {
		parent = "."
	}
	dir, err := unix.Openat2(root, parent, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: beneath})
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	switch err := unix.Mkdirat(dir, name, mode); {
	case errors.Is(err, unix.EEXIST):
		return nil
	case err != nil:
		return err
	}
	return unix.Fchmodat(dir, name, mode, 0)
}

// bind mounts what fd refers to on target.
func bind(fd int, target string) error {
	if err := Unmount(target); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(target, 0o750); err != nil && !os.IsExist(err) {
			return err
		}
	} else if err := os.WriteFile(target, nil, 0o640); err != nil {
		return err
	}
	return unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND, "")
}
