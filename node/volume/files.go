package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"clipper/mountpoint"
)

// Prepare shares what plug-ins mount, and mounts the tmpfs for confidential content, unless an earlier agent already
// has.
func (m *Manager) Prepare() error {
	if err := mountpoint.Share(string(m.cfg.RootDir)); err != nil {
		return err
	}
	if err := os.MkdirAll(m.cfg.PodsDir, 0o750); err != nil {
		return fmt.Errorf("create the pods' directory: %w", err)
	}
	if err := os.MkdirAll(m.cfg.MemoryDir, 0o750); err != nil {
		return fmt.Errorf("create the directory for volumes in memory: %w", err)
	}
	allocatable := m.cfg.Allocatable()
	return mountpoint.Tmpfs(m.cfg.MemoryDir, allocatable.Memory().Value()/2, "0755")
}

// unmountSubPaths takes down the parts of volumes that containers have mounted.
func (m *Manager) unmountSubPaths(uid types.UID) error {
	dir := filepath.Join(m.cfg.PodsDir, string(uid), "volume-subpaths")
	paths, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if err := mountpoint.Unmount(path); err != nil {
			return err
		}
	}
	return mountpoint.RemoveTree(dir)
}

// removeFiles takes down what else is mounted for a pod and removes its volumes' directories.
func (m *Manager) removeFiles(uid types.UID) error {
	return errors.Join(
		mountpoint.RemoveTree(filepath.Join(m.cfg.PodsDir, string(uid), "volumes")),
		mountpoint.RemoveTree(filepath.Join(m.cfg.MemoryDir, string(uid))))
}

// Sweep looks through what earlier agents have left, and removes what belongs to pods that keep does not know.
// What a driver is needed for is removed later, when the driver is there.
func (m *Manager) Sweep(ctx context.Context, keep func(types.UID) bool) error {
	pods, err := directories(m.cfg.PodsDir)
	errs := []error{err}
	inMemory, err := directories(m.cfg.MemoryDir)
	errs = append(errs, err)
	errs = append(errs, m.recallLocal(), m.recallISCSI(), m.recallCSI(pods))
	for _, uid := range slices.Compact(slices.Sorted(slices.Values(append(pods, inMemory...)))) {
		if keep(uid) {
			continue
		}
		if m.hasCSI(uid) {
			m.mu.Lock()
			m.orphans = append(m.orphans, uid)
			m.mu.Unlock()
			continue
		}
		errs = append(errs, m.Unmount(ctx, uid), m.removePodDir(uid))
	}
	m.mu.Lock()
	m.swept = true
	m.mu.Unlock()
	m.stirUp()
	m.cfg.InUseChanged()
	return errors.Join(errs...)
}

func directories(root string) ([]types.UID, error) {
	entries, err := os.ReadDir(root)
	out := make([]types.UID, 0, len(entries))
	for _, e := range entries {
		out = append(out, types.UID(e.Name()))
	}
	return out, err
}

// hasCSI reports whether a driver has given something to a pod, or may have.
func (m *Manager) hasCSI(uid types.UID) bool {
	dir := filepath.Join(m.cfg.PodsDir, string(uid))
	for _, sub := range []string{"volumes/kubernetes.io~csi", "volumeDevices/kubernetes.io~csi"} {
		if _, err := os.Stat(filepath.Join(dir, sub)); err == nil {
			return true
		}
	}
	return false
}

// removePodDir removes all else that is left of a pod.
func (m *Manager) removePodDir(uid types.UID) error {
	return mountpoint.RemoveTree(filepath.Join(m.cfg.PodsDir, string(uid)))
}
