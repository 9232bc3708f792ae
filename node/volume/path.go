package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/mountpoint"
	"clipper/node/volume/content"
)

// Path returns where the volume that a container mounts is on the host. A subPath is resolved inside the
// volume without following links out of it, and pinned by a bind mount: the container could otherwise
// replace it by a link between the check and the mount.
func (m *Manager) Path(ctx context.Context, pod *corev1.Pod, container string, vm *corev1.VolumeMount, subPath string) (string, error) {
	i := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == vm.Name })
	if i < 0 {
		return "", fmt.Errorf("cannot find volume %q to mount into container %q", vm.Name, container)
	}
	v := &pod.Spec.Volumes[i]
	if v.EmptyDir != nil || content.Of(v) {
		return m.locate(pod, container, vm, v, subPath)
	}
	var path string // written by fn, which goes on if it hangs: read only after it has ended
	err := m.guard.do(ctx, fmt.Sprintf("volume %q of pod %s", v.Name, pod.UID), func() (err error) {
		path, err = m.locate(pod, container, vm, v, subPath)
		return err
	})
	if err != nil {
		return "", err
	}
	return path, nil
}

func (m *Manager) locate(pod *corev1.Pod, container string, vm *corev1.VolumeMount, v *corev1.Volume, subPath string) (string, error) {
	base, err := m.base(pod, v)
	if err != nil || subPath == "" {
		return base, err
	}
	return m.bindSubPath(pod, container, vm, base, subPath)
}

// base returns where a volume is. What it takes to know was learned when it was mounted.
func (m *Manager) base(pod *corev1.Pod, v *corev1.Volume) (string, error) {
	switch {
	case v.Image != nil:
		return m.imagePath(pod.UID, v.Name)
	case v.EmptyDir != nil || content.Of(v):
		return m.dir(pod.UID, v), nil
	}
	s := m.source(pod.UID, v.Name)
	if s == nil {
		return "", fmt.Errorf("volume %q is not mounted", v.Name)
	}
	if c := csiVolume(pod, s); c != nil {
		return m.csi.Path(c, pod.UID), nil
	}
	switch {
	case hostPath(s) != nil:
		return makeMissing(m.host(hostPath(s).Path))
	case s.pv != nil && s.pv.Spec.Local != nil:
		return m.localPath(s)
	case nfs(s) != nil:
		return m.nfsPath(pod.UID, s), nil
	case m.iscsi(pod, s) != nil:
		return m.iscsiMount(m.iscsi(pod, s)), nil
	}
	return "", fmt.Errorf("volume %q is of a kind this node cannot mount", s.name())
}

func (m *Manager) source(pod types.UID, volume string) *source {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pv := m.pods[pod]; pv != nil {
		return pv.sources[volume]
	}
	return nil
}

// Device returns the block device behind a volume, and whether it may only be read.
func (m *Manager) Device(pod *corev1.Pod, name string) (path string, readOnly bool, err error) {
	s := m.source(pod.UID, name)
	if s == nil || !s.block() {
		return "", false, fmt.Errorf("cannot find a block volume %q", name)
	}
	if c := csiVolume(pod, s); c != nil {
		return m.csi.Path(c, pod.UID), c.ReadOnly, nil
	}
	if s.pv.Spec.Local != nil {
		path, err = filepath.EvalSymlinks(s.pv.Spec.Local.Path)
		return path, s.readOnly, err
	}
	if l := m.iscsi(pod, s); l != nil {
		path, err = l.Device()
		return path, l.ReadOnly, err
	}
	return "", false, fmt.Errorf("volume %q is of a kind that this node cannot give to a container as a device", s.name())
}

// makeMissing makes a host path that is not there a directory, as container runtimes do.
func makeMissing(path string) (string, error) {
	if _, err := os.Lstat(path); os.IsNotExist(err) {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return "", fmt.Errorf("create hostPath %s: %w", path, err)
		}
	}
	return path, nil
}

func (m *Manager) bindSubPath(pod *corev1.Pod, container string, vm *corev1.VolumeMount, base, sub string) (string, error) {
	target := filepath.Join(m.cfg.PodsDir, string(pod.UID), "volume-subpaths", vm.Name, container, strconv.Itoa(mountIndex(pod, container, vm)))
	if err := mountpoint.BindInside(base, sub, target); err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, container, err)
	}
	return target, nil
}

// mountIndex returns the position of vm among the container's mounts.
func mountIndex(pod *corev1.Pod, container string, vm *corev1.VolumeMount) int {
	for _, cs := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range cs {
			for j := range cs[i].VolumeMounts {
				if cs[i].Name == container && cs[i].VolumeMounts[j].MountPath == vm.MountPath {
					return j
				}
			}
		}
	}
	return 0
}
