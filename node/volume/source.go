package volume

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	csitranslation "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"

	"clipper/api"
	"clipper/api/containers"
	"clipper/api/podrefs"
)

// A source is one of a pod's volumes together with what stands behind it.
type source struct {
	volume   *corev1.Volume
	pv       *corev1.PersistentVolume      // nil: the pod says all there is to say
	claim    *corev1.PersistentVolumeClaim // that is bound to pv
	readOnly bool                          // by the pod's use of the claim
}

// name is what messages call the volume.
func (s *source) name() string {
	if s.pv != nil {
		return s.pv.Name
	}
	return s.volume.Name
}

func (s *source) block() bool {
	return s.pv != nil && s.pv.Spec.VolumeMode != nil && *s.pv.Spec.VolumeMode == corev1.PersistentVolumeBlock
}

// resolve finds out what stands behind a volume. Kinds that CSI drivers took over become CSI volumes here.
func (m *Manager) resolve(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (*source, error) {
	s := &source{volume: v}
	translate := csitranslation.New()
	var err error
	switch {
	case translate.IsInlineMigratable(v):
		if s.pv, err = translate.TranslateInTreeInlineVolumeToCSI(klog.Background(), v, pod.Namespace); err != nil {
			return nil, fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : %w", v.Name, err)
		}
	case podrefs.ClaimName(pod, v) != "":
		if err := m.resolveClaim(ctx, pod, s); err != nil {
			return nil, fmt.Errorf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: %w", v.Name, v.Name, err) //nolint:staticcheck // upstream's event
		}
		s.readOnly = v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
		if translate.IsPVMigratable(s.pv) {
			if s.pv, err = translate.TranslateInTreePVToCSI(klog.Background(), s.pv); err != nil {
				return nil, fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : %w", s.pv.Name, err)
			}
		}
	}
	return s, nil
}

// resolveClaim finds the volume that a pod's claim is bound to.
func (m *Manager) resolveClaim(ctx context.Context, pod *corev1.Pod, s *source) error {
	name := podrefs.ClaimName(pod, s.volume)
	err := m.lookUp(ctx, pod, s, name)
	if err == nil {
		return checkUse(pod, s)
	}
	return fmt.Errorf("error processing PVC %s/%s: %w", pod.Namespace, name, err)
}

func (m *Manager) lookUp(ctx context.Context, pod *corev1.Pod, s *source, name string) error {
	claim, err := api.PersistentVolumeClaims.Get(ctx, m.cfg.Client, pod.Namespace, name)
	if err != nil {
		return fmt.Errorf("failed to fetch PVC from API server: %w", err)
	}
	switch {
	case s.volume.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
		return fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", pod.Namespace, name, pod.Namespace, pod.Name)
	case claim.DeletionTimestamp != nil:
		return errors.New("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "":
		return errors.New("PVC is not bound")
	}
	pv, err := api.PersistentVolumes.Get(ctx, m.cfg.Client, "", claim.Spec.VolumeName)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	case err != nil:
		return err
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID:
		return fmt.Errorf("PV %s is not bound to this claim", pv.Name)
	}
	s.pv, s.claim = pv, claim
	return nil
}

// checkUse makes sure that a block device is not mounted, and nothing else taken for one.
func checkUse(pod *corev1.Pod, s *source) error {
	mounted, device := uses(pod, s.volume.Name)
	switch {
	case s.block() && mounted:
		return fmt.Errorf("volume %s has volumeMode Block, but is specified in volumeMounts", s.volume.Name)
	case !s.block() && device:
		return fmt.Errorf("volume %s has volumeMode Filesystem, but is specified in volumeDevices", s.volume.Name)
	}
	return nil
}

// uses reports how a pod's containers use a volume.
func uses(pod *corev1.Pod, volume string) (mounted, device bool) {
	each := func(mounts []corev1.VolumeMount, devices []corev1.VolumeDevice) {
		mounted = mounted || slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return m.Name == volume })
		device = device || slices.ContainsFunc(devices, func(d corev1.VolumeDevice) bool { return d.Name == volume })
	}
	for c := range containers.Of(&pod.Spec) {
		each(c.VolumeMounts, c.VolumeDevices)
	}
	for i := range pod.Spec.EphemeralContainers {
		each(pod.Spec.EphemeralContainers[i].VolumeMounts, pod.Spec.EphemeralContainers[i].VolumeDevices)
	}
	return mounted, device
}
