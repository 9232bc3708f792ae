package volume

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Modes that a volume's group gets on top of what files have.
const (
	groupReadWrite = 0o660
	groupRead      = 0o440
	groupEnter     = 0o110
)

// When a long change of owner is told of. Upstream's figures.
const (
	firstProgress = 30 * time.Second
	nextProgress  = time.Minute
)

// own gives the tree to the group, so that its members can use it, new files inherit it. Nil: nothing to do.
func own(dir string, gid *int64, readOnly bool) error {
	if gid == nil {
		return nil
	}
	return ownTree(context.Background(), dir, *gid, readOnly, new(atomic.Int64))
}

// ownTree changes the root last: that it is right tells that all is.
func ownTree(ctx context.Context, dir string, gid int64, readOnly bool, done *atomic.Int64) error {
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
			if err := ownTree(ctx, filepath.Join(dir, e.Name()), gid, readOnly, done); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
	}
	done.Add(1)
	return ownFile(dir, info, gid, readOnly)
}

func ownFile(path string, info fs.FileInfo, gid int64, readOnly bool) error {
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

// owned reports whether the root of a volume has the group already, and what its members need.
func owned(dir string, gid int64) bool {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	need := groupMode(info, false)
	return ok && int64(st.Gid) == gid && info.Mode()&need == need
}

// ownVolume gives a volume that outlives pods to the pod's group, as the pod's policy says. A change that takes
// long is told of.
func (m *Manager) ownVolume(ctx context.Context, pod *corev1.Pod, name, dir string) error {
	gid := fsGroup(pod)
	if gid == nil {
		return nil
	}
	if p := pod.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == corev1.FSGroupChangeOnRootMismatch && owned(dir, *gid) {
		return nil
	}
	var done atomic.Int64
	finished := make(chan error, 1)
	go func() { finished <- ownTree(ctx, dir, *gid, false, &done) }() // ends with ctx
	tick := time.NewTimer(firstProgress)
	defer tick.Stop()
	for told := false; ; told = true {
		select {
		case err := <-finished:
			return err
		case <-tick.C:
			tick.Reset(nextProgress)
		}
		message := fmt.Sprintf("Setting volume ownership for %s, processed %d files.", name, done.Load())
		if !told {
			message = fmt.Sprintf("Setting volume ownership for %s is taking longer than expected, consider using OnRootMismatch - "+
				"https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods", name)
		}
		m.cfg.Recorder.Event(pod, corev1.EventTypeWarning, "VolumePermissionChangeInProgress", "%s", message)
	}
}
