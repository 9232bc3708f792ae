package unpack

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutMeta   = ".wh..wh." // other bookkeeping of aufs: without meaning here

	opaqueXattr = "trusted.overlay.opaque"
)

func (u *unpacker) whiteout(dir, base string) error {
	if base == whiteoutOpaque {
		return u.opaque(dir)
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	hidden := strings.TrimPrefix(base, whiteoutPrefix)
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("whiteout without a name")
	}
	name := path.Join(dir, hidden)
	if isDir, ok := u.made[name]; ok {
		if isDir { // the layer brings its own directory: only the lower content goes
			return u.opaque(name)
		}
		return nil // the layer's own file already hides the lower one
	}
	parent, base, err := u.parent(name)
	if err != nil {
		return err
	}
	err = unix.Mknodat(parent, base, unix.S_IFCHR, 0)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("whiteout: %w", err)
	}
	return nil
}

func (u *unpacker) opaque(dir string) error {
	if dir == "." {
		return nil // hiding everything below: containers of such a layer alone are not a case that exists
	}
	fd, _, err := u.parent(path.Join(dir, "x"))
	if err != nil {
		return err
	}
	// The cached handle is O_PATH, which takes no attributes.
	fd, err = unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer unix.Close(fd)
	return markOpaque(fd)
}

func markOpaque(fd int) error {
	if err := unix.Fsetxattr(fd, opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("set %s (the data directory needs a file system with trusted attributes): %w", opaqueXattr, err)
	}
	return nil
}
