// Package unpack turns the tar stream of one image layer into a directory that overlayfs can use as a
// lower directory. The stream is hostile until proven otherwise: every path is resolved inside the target
// (openat2 with RESOLVE_IN_ROOT, so a symbolic link made by an earlier entry cannot lead out of it), sizes
// and counts are bounded, only harmless device nodes are made, and attributes that overlayfs itself gives
// a meaning to are dropped.
//
// Whiteouts of the image format (".wh.name", ".wh..wh..opq") become those of overlayfs (a character device
// 0/0, the attribute trusted.overlay.opaque).
package unpack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits bound what one layer may take. Zero fields mean the default.
type Limits struct {
	Bytes   int64 // sum of file sizes; default 64 GiB
	Entries int   // number of tar entries; default 4 million
}

func (l Limits) withDefaults() Limits {
	if l.Bytes == 0 {
		l.Bytes = 64 << 30
	}
	if l.Entries == 0 {
		l.Entries = 4 << 20
	}
	return l
}

// ErrTooLarge is returned for a layer beyond its Limits.
var ErrTooLarge = errors.New("layer is larger than the limit")

// A PathError says which entry of a layer was refused, and why.
type PathError struct {
	Entry string
	Err   error
}

func (e *PathError) Error() string { return fmt.Sprintf("layer entry %q: %v", e.Entry, e.Err) }

// Unwrap returns the cause.
func (e *PathError) Unwrap() error { return e.Err }

// Layer unpacks the tar stream r into dir, which exists and is empty. It needs root. Nothing is synced to
// disk: that is the caller's, once for a whole image. On error dir is left half filled.
func Layer(ctx context.Context, r io.Reader, dir string, limits Limits) error {
	root, err := openRoot(dir)
	if err != nil {
		return err
	}
	u := &unpacker{root: root, limits: limits.withDefaults(), made: map[string]bool{}}
	defer u.close()
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := u.entry(h, tr); err != nil {
			return &PathError{Entry: clip(h.Name), Err: err}
		}
	}
	return u.finish()
}

// clip keeps a hostile name from flooding logs and events.
func clip(name string) string {
	const longest = 256
	if len(name) > longest {
		return name[:longest] + "…"
	}
	return name
}

type unpacker struct {
	root   *rootDir
	limits Limits
	bytes  int64
	count  int
	// made holds what this layer itself created, true for directories: a whiteout only ever hides what
	// lies below the layer.
	made map[string]bool
	dirs []dirTime
}

type dirTime struct {
	name  string
	mtime time.Time
}

func (u *unpacker) close() { u.root.close() }

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	u.count++
	if u.count > u.limits.Entries {
		return fmt.Errorf("%w of %d entries", ErrTooLarge, u.limits.Entries)
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if name == "." {
		if h.Typeflag == tar.TypeDir {
			return u.directory(h, name)
		}
		return errors.New("the root of a layer must be a directory")
	}
	base := path.Base(name)
	if strings.HasPrefix(base, whiteoutPrefix) {
		return u.whiteout(path.Dir(name), base)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.directory(h, name)
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse, tar.TypeCont: //nolint:staticcheck // TypeRegA is in old images
		return u.file(h, name, content)
	case tar.TypeSymlink:
		return u.symlink(h, name)
	case tar.TypeLink:
		return u.hardlink(h, name)
	case tar.TypeFifo:
		return u.node(h, name, unix.S_IFIFO, 0)
	case tar.TypeChar:
		if !harmlessDevice(h.Devmajor, h.Devminor) {
			return nil
		}
		return u.node(h, name, unix.S_IFCHR, int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	case tar.TypeBlock:
		return nil // never needed inside a container, dangerous outside
	default:
		return fmt.Errorf("unknown entry type %q", h.Typeflag)
	}
}

// harmlessDevice: memory and terminal devices that every container gets anyway. Images made from a full
// /dev carry many others; they are left out, as the runtime mounts its own /dev over them.
func harmlessDevice(major, minor int64) bool {
	switch major {
	case 1:
		return minor == 3 || minor == 5 || minor == 7 || minor == 8 || minor == 9 // null zero full random urandom
	case 5:
		return minor == 0 || minor == 2 // tty ptmx
	}
	return false
}

// cleanName returns name relative to the root without "..", or an error for names no file system takes.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("name contains a NUL byte")
	}
	if len(name) >= unix.PathMax {
		return "", errors.New("name is too long")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", errors.New(`name contains ".."`)
		}
		if len(part) > unix.NAME_MAX {
			return "", errors.New("a part of the name is too long")
		}
	}
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return ".", nil
	}
	return name, nil
}

// finish sets the times of directories, which the files put into them have changed meanwhile.
func (u *unpacker) finish() error {
	for i := len(u.dirs) - 1; i >= 0; i-- {
		d := u.dirs[i]
		if err := u.root.setTime(d.name, d.mtime); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			return &PathError{Entry: d.name, Err: err}
		}
	}
	return nil
}
