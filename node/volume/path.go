package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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
	if v.EmptyDir != nil || fromAPI(v) {
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
	case v.EmptyDir != nil || fromAPI(v):
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
		path, err = l.device()
		return path, l.readOnly, err
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
	fd, err := openInside(base, sub)
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, container, err)
	}
	defer unix.Close(fd)
	target := filepath.Join(m.cfg.PodsDir, string(pod.UID), "volume-subpaths", vm.Name, container, strconv.Itoa(mountIndex(pod, container, vm)))
	if err := bind(fd, target); err != nil {
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

const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS

// openInside opens sub under base, making missing directories with base's mode. It never leaves base.
func openInside(base, sub string) (int, error) {
	root, err := unix.Open(base, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open volume %s: %w", base, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath})
	if !errors.Is(err, unix.ENOENT) {
		return fd, outside(sub, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return -1, err
	}
	path := ""
	for part := range strings.SplitSeq(filepath.Clean(sub), "/") {
		if err := makeInside(root, path, part, st.Mode&0o7777); err != nil {
			return -1, outside(sub, err)
		}
		path = filepath.Join(path, part)
	}
	fd, err = unix.Openat2(root, sub, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: beneath})
	return fd, outside(sub, err)
}

func outside(sub string, err error) error {
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("subPath %q leads out of the volume", sub)
	}
	return err
}

func makeInside(root int, parent, name string, mode uint32) error {
	if parent == "" {
		parent = "."
	}
	dir, err := unix.Openat2(root, parent, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: beneath})
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	switch err := unix.Mkdirat(dir, name, mode); {
	case errors.Is(err, unix.EEXIST):
		return nil
	case err != nil:
		return err
	}
	return unix.Fchmodat(dir, name, mode, 0)
}

// bind mounts what fd refers to on target, replacing what an earlier container left there.
func bind(fd int, target string) error {
	if err := unmount(target); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		if err := os.Mkdir(target, 0o750); err != nil && !os.IsExist(err) {
			return err
		}
	} else if err := os.WriteFile(target, nil, 0o640); err != nil {
		return err
	}
	return unix.Mount("/proc/self/fd/"+strconv.Itoa(fd), target, "", unix.MS_BIND, "")
}
