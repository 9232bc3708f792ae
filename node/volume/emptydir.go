package volume

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"clipper/mountpoint"
	"clipper/node/volume/fsgroup"
)

func (m *Manager) mountEmptyDir(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	dir := m.dir(pod.UID, v)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	switch medium := v.EmptyDir.Medium; {
	case medium == corev1.StorageMediumDefault:
		if err := os.Chmod(dir, 0o777); err != nil { // MkdirAll's mode went through the umask
			return err
		}
	case medium == corev1.StorageMediumMemory:
		// Sticky, as the kernel makes a tmpfs and as upstream leaves it.
		if err := mountpoint.Tmpfs(dir, m.memorySize(pod, v.EmptyDir), "1777"); err != nil {
			return err
		}
	case isHugePages(medium):
		if err := mountHugePages(pod, medium, dir); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown storage medium %q", medium)
	}
	if gid := fsgroup.Of(pod); gid != nil {
		return fsgroup.Give(ctx, dir, *gid, false, new(atomic.Int64))
	}
	return nil
}

// memorySize bounds an emptyDir in memory: its own limit, the pod's, or what the node has.
func (m *Manager) memorySize(pod *corev1.Pod, e *corev1.EmptyDirVolumeSource) int64 {
	allocatable := m.cfg.Allocatable()
	size := allocatable.Memory().Value()
	lim := resource.PodLimits(pod, resource.PodResourcesOptions{})
	if q := lim.Memory(); q.Sign() > 0 && q.Value() < size {
		size = q.Value()
	}
	if q := e.SizeLimit; q != nil && q.Sign() > 0 && q.Value() < size {
		size = q.Value()
	}
	return size
}
