package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// rootDir resolves names inside one directory. It keeps the last directory open, as tar streams are sorted
// by directory nearly always.
type rootDir struct {
	fd       int
	lastName string
	lastFd   int
	buf      []byte
}

func openRoot(dir string) (*rootDir, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return &rootDir{fd: fd, lastFd: -1}, nil
}

func (r *rootDir) close() {
	r.forget()
	unix.Close(r.fd)
}

// forget drops the cached directory; needed before one is removed.
func (r *rootDir) forget() {
	if r.lastFd >= 0 {
		unix.Close(r.lastFd)
	}
	r.lastFd, r.lastName = -1, ""
}

func (r *rootDir) buffer() []byte {
	if r.buf == nil {
		r.buf = make([]byte, 256<<10)
	}
	return r.buf
}

// openDir returns a handle of a directory inside the root. It stays valid until the next call. Symbolic
// links are followed as in a chroot: absolute ones start at the root, ".." stops there.
func (r *rootDir) openDir(name string) (int, error) {
	if name == "." || name == "" {
		return r.fd, nil
	}
	if r.lastFd >= 0 && r.lastName == name {
		return r.lastFd, nil
	}
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(r.fd, name, &how)
	if errors.Is(err, unix.ENOSYS) {
		return -1, fmt.Errorf("the kernel lacks openat2; Linux 5.6 or newer is needed: %w", err)
	}
	if err != nil {
		return -1, err
	}
	r.forget()
	r.lastFd, r.lastName = fd, name
	return fd, nil
}

func modeOf(h *tar.Header) uint32 { return uint32(h.Mode) & 0o7777 }

// setOwnerAndMode: the mode comes second, because chown clears setuid.
func (r *rootDir) setOwnerAndMode(fd int, h *tar.Header) error {
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > 1<<32-2 || int64(h.Gid) > 1<<32-2 {
		return fmt.Errorf("owner %d:%d is not a valid user and group", h.Uid, h.Gid)
	}
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	if err := unix.Fchmod(fd, modeOf(h)); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return nil
}

const paxXattr = "SCHILY.xattr."

// setXattrs keeps user attributes and file capabilities. The rest belongs to the machine, not to an image:
// trusted.overlay.* steers overlayfs, security.selinux is the host's policy.
func (r *rootDir) setXattrs(fd int, h *tar.Header) error {
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, paxXattr)
		if !ok || (name != "security.capability" && !strings.HasPrefix(name, "user.")) {
			continue
		}
		err := unix.Fsetxattr(fd, name, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set attribute %q: %w", clip(name), err)
		}
	}
	return nil
}

func (r *rootDir) setTime(name string, t time.Time) error {
	if name == "." {
		return setTimeAt(r.fd, ".", t)
	}
	fd, err := r.openDir(name)
	if err != nil {
		return err
	}
	return setTimeAt(fd, ".", t)
}

func setTimeAt(fd int, base string, t time.Time) error {
	if t.Before(time.Unix(0, 0)) || t.Year() > 9999 {
		t = time.Unix(0, 0)
	}
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.UtimesNanoAt(fd, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

type kind int

const (
	isOther kind = iota
	isDirectory
	isWhiteout
)

func kindAt(dir int, base string) (kind, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return isOther, err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return isDirectory, nil
	case st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0:
		return isWhiteout, nil
	}
	return isOther, nil
}

// removeTree removes a directory of the layer under way, by handle, following no link.
func removeTree(dir int, base string) error {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(base)
}

type fdWriter int

func (w fdWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		n, err := unix.Write(int(w), p)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return total - len(p), err
		}
		if n == 0 {
			return total - len(p), io.ErrShortWrite
		}
		p = p[n:]
	}
	return total, nil
}
