package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// claimName returns the name of the claim behind a volume.
func claimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// mountClaim makes sure of the volume that a claim is bound to.
func (m *Manager) mountClaim(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	pv, err := m.resolveClaim(ctx, pod, v)
	if err != nil {
		return fmt.Errorf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: error processing PVC %s/%s: %w", //nolint:staticcheck // upstream's event
			v.Name, v.Name, pod.Namespace, claimName(pod, v), err)
	}
	switch {
	case pv.Spec.HostPath != nil:
		if err := checkHostPath(m.cfg.RootDir.Host(pv.Spec.HostPath.Path), pv.Spec.HostPath.Type); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", pv.Name, err)
		}
		return nil
	case pv.Spec.Local != nil:
		if _, err := os.Stat(pv.Spec.Local.Path); err != nil {
			return fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : path %q does not exist", pv.Name, pv.Spec.Local.Path)
		}
		if err := own(pv.Spec.Local.Path, fsGroup(pod), false); err != nil {
			return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", pv.Name, err)
		}
		return nil
	case pv.Spec.CSI != nil:
		return m.notAttached(attachment{pv.Spec.CSI.Driver, pv.Name})
	case inTreePersistent(pv) != "":
		return m.notAttached(attachment{inTreePersistent(pv), pv.Name})
	}
	return fmt.Errorf("MountVolume.SetUp failed for volume %q : this node cannot mount volumes of this kind; hostPath and local work", pv.Name)
}

func (m *Manager) resolveClaim(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*corev1.PersistentVolume, error) {
	name := claimName(pod, v)
	claim, err := api.PersistentVolumeClaims.Get(ctx, m.cfg.Client, pod.Namespace, name)
	if err != nil {
		return nil, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	}
	switch {
	case v.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
		return nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", pod.Namespace, name, pod.Namespace, pod.Name)
	case claim.DeletionTimestamp != nil:
		return nil, errors.New("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "":
		return nil, errors.New("PVC is not bound")
	}
	pv, err := api.PersistentVolumes.Get(ctx, m.cfg.Client, "", claim.Spec.VolumeName)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	case err != nil:
		return nil, err
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID:
		return nil, fmt.Errorf("PV %s is not bound to this claim", pv.Name)
	}
	return pv, nil
}

// boundVolume returns the persistent volume behind v from the API, nil if there is none.
func (m *Manager) boundVolume(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolume {
	if claimName(pod, v) == "" {
		return nil
	}
	pv, err := m.resolveClaim(context.Background(), pod, v)
	if err != nil {
		return nil
	}
	return pv
}

// checkHostPath applies a hostPath's type: what must be there, and what is made.
func checkHostPath(path string, t *corev1.HostPathType) error {
	kind := corev1.HostPathUnset
	if t != nil {
		kind = *t
	}
	switch kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("hostPath type check failed: %s is not a directory", path)
		}
		return nil
	case corev1.HostPathFileOrCreate:
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return fmt.Errorf("hostPath type check failed: %s is not a file", path)
		}
		f.Close()
		kind = corev1.HostPathFile
	}
	info, err := os.Stat(path)
	check := map[corev1.HostPathType]struct {
		what string
		is   func(os.FileMode) bool
	}{
		corev1.HostPathDirectory: {"directory", os.FileMode.IsDir},
		corev1.HostPathFile:      {"file", os.FileMode.IsRegular},
		corev1.HostPathSocket:    {"socket file", func(m os.FileMode) bool { return m&os.ModeSocket != 0 }},
		corev1.HostPathCharDev:   {"character device", func(m os.FileMode) bool { return m&os.ModeCharDevice != 0 }},
		corev1.HostPathBlockDev:  {"block device", func(m os.FileMode) bool { return m&os.ModeDevice != 0 && m&os.ModeCharDevice == 0 }},
	}[kind]
	if check.is == nil {
		return fmt.Errorf("%s is an invalid volume type", kind)
	}
	if err != nil || !check.is(info.Mode()) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", path, check.what)
	}
	return nil
}
