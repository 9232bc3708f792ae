// Package fsgroup gives volumes to the group that a pod names for them, securityContext.fsGroup.
package fsgroup

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// Modes that a volume's group gets on top of what files have.
const (
	groupReadWrite = 0o660
	groupRead      = 0o440
	groupEnter     = 0o110
)

// Of returns the group of a pod's volumes, nil if it names none.
func Of(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// Give gives the tree to the group, so that its members can use it and new files inherit it. done counts the files. The
// root comes last: that it is right tells that all is.
func Give(ctx context.Context, dir string, gid int64, readOnly bool, done *atomic.Int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := Give(ctx, filepath.Join(dir, e.Name()), gid, readOnly, done); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	done.Add(1)
	return giveFile(dir, info, gid, readOnly)
}

func giveFile(path string, info fs.FileInfo, gid int64, readOnly bool) error {
	if err := os.Lchown(path, -1, int(gid)); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil // its own mode means nothing, and Chmod would follow it
	}
	return os.Chmod(path, info.Mode().Perm()|info.Mode()&(fs.ModeSetgid|fs.ModeSetuid|fs.ModeSticky)|groupMode(info, readOnly))
}

func groupMode(info fs.FileInfo, readOnly bool) fs.FileMode {
	add := fs.FileMode(groupReadWrite)
	if readOnly {
		add = groupRead
	}
	if info.IsDir() {
		add |= groupEnter | fs.ModeSetgid
	}
	return add
}

// Has reports whether the root of a volume has the group already, and what its members need.
func Has(dir string, gid int64) bool {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	need := groupMode(info, false)
	return ok && int64(st.Gid) == gid && info.Mode()&need == need
}
