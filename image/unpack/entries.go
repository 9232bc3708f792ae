package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

func (u *unpacker) directory(h *tar.Header, name string) error {
	if name == "." {
		if err := u.root.setOwnerAndMode(u.root.fd, h); err != nil {
			return err
		}
		u.dirs = append(u.dirs, dirTime{name, h.ModTime})
		return u.root.setXattrs(u.root.fd, h)
	}
	parent, base, err := u.parent(name)
	if err != nil {
		return err
	}
	opaque := false
	err = unix.Mkdirat(parent, base, 0o700)
	if errors.Is(err, unix.EEXIST) {
		kind, statErr := kindAt(parent, base)
		if statErr != nil {
			return statErr
		}
		if kind != isDirectory {
			// A whiteout followed by a directory of that name: nothing of the lower one may show through.
			opaque = kind == isWhiteout
			if err := unix.Unlinkat(parent, base, 0); err != nil {
				return fmt.Errorf("replace: %w", err)
			}
			err = unix.Mkdirat(parent, base, 0o700)
		} else {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	u.made[name] = true
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer unix.Close(fd)
	if err := u.root.setOwnerAndMode(fd, h); err != nil {
		return err
	}
	if opaque {
		if err := markOpaque(fd); err != nil {
			return err
		}
	}
	u.dirs = append(u.dirs, dirTime{name, h.ModTime})
	return u.root.setXattrs(fd, h)
}

func (u *unpacker) file(h *tar.Header, name string, content io.Reader) error {
	if h.Size > u.limits.Bytes-u.bytes {
		return fmt.Errorf("%w of %d bytes", ErrTooLarge, u.limits.Bytes)
	}
	parent, base, err := u.place(name)
	if err != nil {
		return err
	}
	fd, err := unix.Openat(parent, base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer unix.Close(fd)
	n, err := io.CopyBuffer(fdWriter(fd), io.LimitReader(content, u.limits.Bytes-u.bytes+1), u.root.buffer())
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if u.bytes += n; u.bytes > u.limits.Bytes {
		return fmt.Errorf("%w of %d bytes", ErrTooLarge, u.limits.Bytes)
	}
	if err := u.root.setOwnerAndMode(fd, h); err != nil {
		return err
	}
	// After chown, which clears security.capability.
	if err := u.root.setXattrs(fd, h); err != nil {
		return err
	}
	return setTimeAt(parent, base, h.ModTime)
}

func (u *unpacker) symlink(h *tar.Header, name string) error {
	if h.Linkname == "" || len(h.Linkname) >= unix.PathMax || strings.IndexByte(h.Linkname, 0) >= 0 {
		return errors.New("the target of the symbolic link is empty, too long or contains a NUL byte")
	}
	parent, base, err := u.place(name)
	if err != nil {
		return err
	}
	// The target may be anything: it is only ever resolved inside a container's root, or by parent below.
	if err := unix.Symlinkat(h.Linkname, parent, base); err != nil {
		return fmt.Errorf("symlink: %w", err)
	}
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	return setTimeAt(parent, base, h.ModTime)
}

func (u *unpacker) hardlink(h *tar.Header, name string) error {
	target, err := cleanName(h.Linkname)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", clip(h.Linkname), err)
	}
	if target == name {
		return nil
	}
	from, err := u.root.openDir(path.Dir(target))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", clip(h.Linkname), err)
	}
	// place may move the cached directory on; keep our own handle of the target's.
	from, err = unix.FcntlInt(uintptr(from), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	switch kind, err := kindAt(from, path.Base(target)); {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("hard link to %q, which is not in this layer", clip(h.Linkname))
	case err != nil:
		return err
	case kind == isDirectory || kind == isWhiteout:
		return fmt.Errorf("hard link to %q, which is not a file", clip(h.Linkname))
	}
	parent, base, err := u.place(name)
	if err != nil {
		return err
	}
	// No AT_SYMLINK_FOLLOW: a link to a symbolic link is a link to the link itself.
	if err := unix.Linkat(from, path.Base(target), parent, base, 0); err != nil {
		return fmt.Errorf("link: %w", err)
	}
	return nil
}

func (u *unpacker) node(h *tar.Header, name string, kind uint32, dev int) error {
	parent, base, err := u.place(name)
	if err != nil {
		return err
	}
	if err := unix.Mknodat(parent, base, kind|0o600, dev); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	if err := unix.Fchownat(parent, base, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("chown: %w", err)
	}
	// The node was made just now by us in a directory only we can write: no link can be in its place.
	if err := unix.Fchmodat(parent, base, modeOf(h), 0); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	return setTimeAt(parent, base, h.ModTime)
}

// parent opens the directory that name lies in, making the missing ones, as images built by hand lack them.
func (u *unpacker) parent(name string) (fd int, base string, err error) {
	dir := path.Dir(name)
	fd, err = u.root.openDir(dir)
	if errors.Is(err, unix.ENOENT) {
		if err = u.makeParents(dir); err == nil {
			fd, err = u.root.openDir(dir)
		}
	}
	if err != nil {
		return -1, "", fmt.Errorf("open directory %q: %w", clip(dir), err)
	}
	return fd, path.Base(name), nil
}

func (u *unpacker) makeParents(dir string) error {
	for i, c := range dir + "/" {
		if c != '/' {
			continue
		}
		part := dir[:i]
		_, err := u.root.openDir(part)
		if err == nil {
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
		above, err := u.root.openDir(path.Dir(part))
		if err != nil {
			return err
		}
		if err := unix.Mkdirat(above, path.Base(part), 0o755); err != nil {
			return err // EEXIST here is a dangling symbolic link: there is no place for the file
		}
		u.made[part] = true
	}
	return nil
}

// place is parent for what is no directory: it clears the way and records the name.
func (u *unpacker) place(name string) (fd int, base string, err error) {
	fd, base, err = u.parent(name)
	if err != nil {
		return -1, "", err
	}
	kind, err := kindAt(fd, base)
	switch {
	case errors.Is(err, unix.ENOENT):
		err = nil
	case err != nil:
	case kind == isDirectory:
		u.root.forget()
		if err = removeTree(fd, base); err == nil {
			fd, base, err = u.parent(name)
		}
	default:
		err = unix.Unlinkat(fd, base, 0)
	}
	if err != nil {
		return -1, "", fmt.Errorf("replace: %w", err)
	}
	u.made[name] = false
	return fd, base, nil
}
