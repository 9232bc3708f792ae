package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/mountpoint"
	"clipper/node/volume/iscsi"
)

// iscsiMounts is where iSCSI disks are mounted, once for all pods; upstream's place.
const iscsiMounts = "plugins/kubernetes.io/iscsi"

// iscsi returns the disk that s is, nil if it is something else.
func (m *Manager) iscsi(pod *corev1.Pod, s *source) *iscsi.LUN {
	return iscsi.Of(m.diskLinks, pod, s.volume, s.pv, s.readOnly)
}

func (m *Manager) iscsiMount(l *iscsi.LUN) string {
	return m.cfg.RootDir.Join(iscsiMounts, "iface-"+l.Interface, l.Name())
}

func iscsiKey(l *iscsi.LUN) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/iscsi/" + l.Name())
}

// mountISCSI logs in to the target by the system's tools and, unless a container gets the device, mounts the disk.
func (m *Manager) mountISCSI(ctx context.Context, pod *corev1.Pod, s *source, l *iscsi.LUN) error {
	d := m.use(iscsiKey(l), pod.UID, func(ctx context.Context) error { return m.dropISCSI(ctx, l) })
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.staged {
		return nil
	}
	secret, err := m.chap(ctx, l)
	if err != nil {
		return fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : %w", s.name(), err)
	}
	dir := m.iscsiMount(l)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if err := l.Write(dir + ".json"); err != nil {
		return err
	}
	if err := l.Login(ctx, secret); err != nil {
		return fmt.Errorf("MountVolume.WaitForAttach failed for volume %q : failed to get any path for iscsi disk, last err seen:\n%w", s.name(), err)
	}
	if !s.block() {
		if err := m.mountDisk(ctx, l, dir); err != nil {
			return fmt.Errorf("MountVolume.MountDevice failed for volume %q : %w", s.name(), err)
		}
		if !l.ReadOnly {
			if err := m.ownVolume(ctx, pod, s.name(), dir); err != nil {
				return setUpFailed(s.name(), err)
			}
		}
	}
	d.staged = true
	return nil
}

func (m *Manager) mountDisk(ctx context.Context, l *iscsi.LUN, dir string) error {
	if mounted, err := mountpoint.Is(dir); err != nil || mounted {
		return err
	}
	device, err := l.Device()
	if err != nil {
		return err
	}
	options := slices.Clone(l.Options)
	if l.ReadOnly {
		options = append(options, "ro")
	}
	return m.formatAndMount(ctx, device, dir, l.FSType, options)
}

// chap returns the names and passwords for the target.
func (m *Manager) chap(ctx context.Context, l *iscsi.LUN) (map[string][]byte, error) {
	if l.Secret == nil {
		return nil, nil
	}
	s, err := api.Secrets.Get(ctx, m.cfg.Client, l.Secret.Namespace, l.Secret.Name)
	if err != nil {
		return nil, fmt.Errorf("couldn't get secret %v/%v err: %w", l.Secret.Namespace, l.Secret.Name, err)
	}
	return s.Data, nil
}

// dropISCSI unmounts a disk, and logs out if it was the last of its target.
func (m *Manager) dropISCSI(ctx context.Context, l *iscsi.LUN) error {
	dir := m.iscsiMount(l)
	if err := m.guard.do(ctx, dir, func() error { return mountpoint.RemoveTree(dir) }); err != nil {
		return err
	}
	if !m.othersOfTarget(l) {
		if err := l.Logout(ctx); err != nil {
			return fmt.Errorf("iscsi: failed to detach disk: %w", err)
		}
	}
	if err := os.Remove(dir + ".json"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// othersOfTarget reports whether other disks of the same target are known.
func (m *Manager) othersOfTarget(l *iscsi.LUN) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	infix := "-" + strings.ReplaceAll(l.IQN, "/", "~") + "-lun-"
	for name := range m.devices {
		if name != iscsiKey(l) && strings.HasPrefix(string(name), "kubernetes.io/iscsi/") && strings.Contains(string(name), infix) {
			return true
		}
	}
	return false
}

// recallISCSI learns which disks an earlier agent has logged in to.
func (m *Manager) recallISCSI() error {
	files, err := filepath.Glob(m.cfg.RootDir.Join(iscsiMounts, "*", "*.json"))
	if err != nil {
		return err
	}
	for _, f := range files {
		l, err := iscsi.Read(f)
		if err != nil {
			return err
		}
		m.use(iscsiKey(l), "", func(ctx context.Context) error { return m.dropISCSI(ctx, l) })
	}
	return nil
}
