// Package diskusage measures what the files of a directory take up: blocks, not lengths, so that holes cost
// nothing, and files with several names once.
package diskusage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Usage is what a directory takes up.
type Usage struct{ Bytes, Inodes int64 }

// Add returns the sum of both.
func (u Usage) Add(v Usage) Usage { return Usage{u.Bytes + v.Bytes, u.Inodes + v.Inodes} }

// Of walks dir, without leaving its file system. What vanishes meanwhile does not count; a dir that is not
// there takes up nothing. It ends early with ctx.
func Of(ctx context.Context, dir string) (Usage, error) {
	var root unix.Stat_t
	switch err := unix.Lstat(dir, &root); {
	case errors.Is(err, unix.ENOENT):
		return Usage{}, nil
	case err != nil:
		return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	w := walk{ctx: ctx, device: root.Dev, seen: map[uint64]bool{}}
	if err := filepath.WalkDir(dir, w.visit); err != nil {
		return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	return w.sum, nil
}

type walk struct {
	ctx    context.Context
	device uint64
	seen   map[uint64]bool // inodes of files with several names
	sum    Usage
}

func (w *walk) visit(path string, _ fs.DirEntry, err error) error {
	if cause := w.ctx.Err(); cause != nil {
		return cause
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // someone is at work there
	}
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return nil
	}
	dir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if st.Dev != w.device {
		if dir {
			return fs.SkipDir
		}
		return nil
	}
	if st.Nlink > 1 && !dir {
		if w.seen[st.Ino] {
			return nil
		}
		w.seen[st.Ino] = true
	}
	w.sum.Bytes += st.Blocks * 512
	w.sum.Inodes++
	return nil
}
