package volume

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/mount-utils"

	"clipper/mountpoint"
)

// nfs returns the export that s is, nil if it is something else.
func nfs(s *source) *corev1.NFSVolumeSource {
	if s.pv != nil {
		return s.pv.Spec.NFS
	}
	return s.volume.NFS
}

func (m *Manager) nfsPath(pod types.UID, s *source) string {
	return filepath.Join(m.cfg.PodsDir, string(pod), "volumes", "kubernetes.io~nfs", s.name())
}

// mountNFS mounts an export by the system's tools: they know the versions and the options of the protocol.
func (m *Manager) mountNFS(ctx context.Context, pod *corev1.Pod, s *source) error {
	export, dir := nfs(s), m.nfsPath(pod.UID, s)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if mounted, err := mountpoint.Is(dir); err != nil || mounted {
		return err
	}
	err := m.guard.do(ctx, export.Server+":"+export.Path, func() error {
		return mount.NewWithoutSystemd("").MountSensitiveWithoutSystemd(export.Server+":"+export.Path, dir, "nfs", nfsOptions(s), nil)
	})
	if err != nil {
		_ = os.Remove(dir) // empty: nothing is mounted there
	}
	return err
}

// nfsOptions returns the options of the mount, each once, in order: what upstream asks for.
func nfsOptions(s *source) []string {
	var out []string
	if nfs(s).ReadOnly || s.readOnly {
		out = append(out, "ro")
	}
	if s.pv != nil {
		out = append(out, s.pv.Spec.MountOptions...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
