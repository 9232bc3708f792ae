package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/mountpoint"
)

// localMounts is where devices of local volumes are mounted, once for all pods; upstream's place.
const localMounts = "plugins/kubernetes.io/local-volume/mounts"

// mountLocal makes sure of a directory of this node, or mounts a device of this node.
func (m *Manager) mountLocal(ctx context.Context, pod *corev1.Pod, s *source) error {
	path := s.pv.Spec.Local.Path
	var mode os.FileMode
	err := m.guard.do(ctx, path, func() error {
		info, err := os.Stat(path)
		if err == nil {
			mode = info.Mode()
		}
		return err
	})
	device := mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : path %q does not exist", s.name(), path)
	case err != nil:
		return fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : %w", s.name(), err)
	case s.block() && !device:
		return fmt.Errorf("MapVolume.SetUpDevice failed for volume %q : %s is not a block device", s.name(), path)
	case s.block():
		return nil
	case device:
		if err := m.mountLocalDevice(ctx, pod, s); err != nil {
			return fmt.Errorf("MountVolume.MountDevice failed for volume %q : %w", s.name(), err)
		}
		path = m.localMount(s)
	case !mode.IsDir():
		return fmt.Errorf("MountVolume.MountDevice failed for volume %q : only directory and block device are supported", s.name())
	}
	if s.readOnly {
		return nil
	}
	return setUpFailed(s.name(), m.ownVolume(ctx, pod, s.name(), path))
}

func (m *Manager) localMount(s *source) string { return m.cfg.RootDir.Join(localMounts, s.pv.Name) }

// localPath returns where a local volume is: the directory itself, or where its device is mounted.
func (m *Manager) localPath(s *source) (string, error) {
	mounted, err := mountpoint.Is(m.localMount(s))
	if err == nil && mounted {
		return m.localMount(s), nil
	}
	return s.pv.Spec.Local.Path, nil
}

// mountLocalDevice mounts a device, on which it makes a file system if there is none.
func (m *Manager) mountLocalDevice(ctx context.Context, pod *corev1.Pod, s *source) error {
	dir := m.localMount(s)
	d := m.use(corev1.UniqueVolumeName("kubernetes.io/local-volume/"+s.pv.Name), pod.UID, func(ctx context.Context) error {
		return m.guard.do(ctx, dir, func() error { return mountpoint.RemoveTree(dir) })
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.staged {
		return nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if mounted, err := mountpoint.Is(dir); err != nil || mounted {
		d.staged = mounted
		return err
	}
	path, err := filepath.EvalSymlinks(s.pv.Spec.Local.Path)
	if err != nil {
		return err
	}
	fsType := cmp.Or(ptr.Deref(s.pv.Spec.Local.FSType, ""), defaultFSType)
	if err := m.formatAndMount(ctx, path, dir, fsType, s.pv.Spec.MountOptions); err != nil {
		return fmt.Errorf("local: failed to mount device %s at %s (fstype: %s), error %w", path, dir, fsType, err)
	}
	d.staged = true
	return nil
}

// recallLocal learns which devices of local volumes an earlier agent has mounted. Pods that come back use them
// again; the others are taken down.
func (m *Manager) recallLocal() error {
	entries, err := os.ReadDir(m.cfg.RootDir.Join(localMounts))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		dir := m.cfg.RootDir.Join(localMounts, e.Name())
		m.use(corev1.UniqueVolumeName("kubernetes.io/local-volume/"+e.Name()), "", func(ctx context.Context) error {
			return m.guard.do(ctx, dir, func() error { return mountpoint.RemoveTree(dir) })
		})
	}
	return nil
}
