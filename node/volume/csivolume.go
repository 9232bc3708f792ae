package volume

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/csi"
	"clipper/node/volume/token"
)

// csiMount is a CSI volume that a pod has been given.
type csiMount struct {
	volume    *csi.Volume
	claim     *corev1.PersistentVolumeClaim // nil: none
	republish bool

	// How far the volume has grown on this node. Guarded by the device's mu once others see the mount.
	size   resource.Quantity
	failed bool // the last expansion, for good, as far as the driver can tell
	parked bool // it does not grow while a pod uses it
}

// csiVolume returns the CSI volume that s is, nil if it is of another kind.
func csiVolume(pod *corev1.Pod, s *source) *csi.Volume {
	switch {
	case s.pv != nil && s.pv.Spec.CSI != nil:
		return csi.Persistent(s.pv, s.readOnly)
	case s.pv == nil && s.volume.CSI != nil:
		return csi.Ephemeral(pod, s.volume)
	}
	return nil
}

// mountCSI attaches, stages and publishes a volume, unless the pod has it already.
func (m *Manager) mountCSI(ctx context.Context, pod *corev1.Pod, s *source, v *csi.Volume) error {
	if m.csiMount(pod.UID, s.volume.Name) != nil {
		return nil
	}
	if v.PV == nil {
		return m.publish(ctx, pod, s, v)
	}
	d := m.use(v.UniqueName(), pod.UID, func(ctx context.Context) error { return m.csi.Unstage(ctx, v) })
	attach, err := m.csi.NeedsAttach(ctx, v.Driver)
	if err != nil {
		return fmt.Errorf("MountVolume.NewMounter initialization failed for volume %q : %w", s.name(), err)
	}
	if attach {
		if err := m.waitAttached(ctx, v, d, s.volume.Name); err != nil {
			return err
		}
	}
	if exclusive(v.PV) && m.usedElsewhere(d, pod.UID) {
		return fmt.Errorf("MountVolume.SetUp failed for volume %q : volume uses the ReadWriteOncePod access mode and is already in use by another pod", s.name())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.staged {
		if err := m.csi.Stage(ctx, v, pod); err != nil {
			return fmt.Errorf("MountVolume.MountDevice failed for volume %q : %w", s.name(), err)
		}
		d.staged = true
	}
	return m.publish(ctx, pod, s, v)
}

// exclusive reports whether only one pod may use the volume.
func exclusive(pv *corev1.PersistentVolume) bool {
	return len(pv.Spec.AccessModes) == 1 && pv.Spec.AccessModes[0] == corev1.ReadWriteOncePod
}

// publish gives a volume to a pod, with the owner and the size that it should have.
func (m *Manager) publish(ctx context.Context, pod *corev1.Pod, s *source, v *csi.Volume) error {
	setUp := func(err error) error { return fmt.Errorf("MountVolume.SetUp failed for volume %q : %w", s.name(), err) }
	r, err := m.csi.Publish(ctx, v, pod, false)
	if err != nil {
		return setUp(err)
	}
	if r.OwnGroup {
		if err := m.ownVolume(ctx, pod, s.name(), m.csi.Path(v, pod.UID)); err != nil {
			return setUp(fmt.Errorf("applyFSGroup failed for vol %s: %w", v.Handle, err))
		}
	}
	mount := &csiMount{volume: v, claim: s.claim, republish: r.Republish}
	if s.claim != nil {
		mount.size = s.claim.Status.Capacity[corev1.ResourceStorage]
		if err := m.expand(ctx, pod, mount); err != nil {
			return fmt.Errorf("MountVolume.Setup failed while expanding volume for volume %q : %w", s.name(), err)
		}
	}
	m.mu.Lock()
	if pv := m.pods[pod.UID]; pv != nil {
		pv.csi[s.volume.Name] = mount
	}
	m.mu.Unlock()
	if r.Republish {
		m.stirUp()
	}
	return nil
}

func (m *Manager) csiMount(pod types.UID, volume string) *csiMount {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pv := m.pods[pod]; pv != nil {
		return pv.csi[volume]
	}
	return nil
}

// unmountCSI takes the CSI volumes of a pod away, those too that an earlier agent gave to it.
func (m *Manager) unmountCSI(ctx context.Context, pod types.UID) error {
	list, err := m.csi.Published(pod)
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range list {
		if err := m.unpublish(ctx, p); err != nil {
			errs = append(errs, fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", p.Name, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	root := filepath.Join(m.cfg.PodsDir, string(pod))
	for _, dir := range []string{"volumeDevices/kubernetes.io~csi", "volumeDevices", "volumes/kubernetes.io~csi"} {
		if err := os.Remove(filepath.Join(root, dir)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

func (m *Manager) unpublish(ctx context.Context, p csi.Published) error {
	if !p.Ephemeral {
		d := m.use(p.UniqueName(), p.Pod, func(ctx context.Context) error { return m.csi.Unstage(ctx, &p.Volume) })
		d.mu.Lock()
		defer d.mu.Unlock()
	}
	return m.csi.Unpublish(ctx, p)
}

// recallCSI learns from the disk which pods use which volumes, and what is staged: an earlier agent's work. They
// count as attached, lest they be detached while they are mounted.
func (m *Manager) recallCSI(pods []types.UID) error {
	staged, err := m.csi.Staged()
	if err != nil {
		return err
	}
	for _, v := range staged {
		m.recallDevice(v, "")
	}
	for _, pod := range pods {
		list, err := m.csi.Published(pod)
		if err != nil {
			return err
		}
		for _, p := range list {
			if !p.Ephemeral {
				m.recallDevice(&p.Volume, pod)
			}
		}
	}
	return nil
}

func (m *Manager) recallDevice(v *csi.Volume, pod types.UID) {
	d := m.use(v.UniqueName(), pod, func(ctx context.Context) error { return m.csi.Unstage(ctx, v) })
	m.mu.Lock()
	d.attached = true
	m.mu.Unlock()
}

// driverTokens returns service-account tokens of a pod as CSI drivers are given them.
func (m *Manager) driverTokens(ctx context.Context, pod *corev1.Pod, requests []storagev1.TokenRequest) (string, error) {
	out := map[string]authenticationv1.TokenRequestStatus{}
	for _, r := range requests {
		seconds := int64(3600)
		if r.ExpirationSeconds != nil {
			seconds = *r.ExpirationSeconds
		}
		t, err := m.tokens.Get(ctx, pod, token.Request{Audience: r.Audience, Seconds: seconds})
		if err != nil {
			return "", err
		}
		out[r.Audience] = authenticationv1.TokenRequestStatus{Token: t.Value, ExpirationTimestamp: metav1.NewTime(t.Expires)}
	}
	b, err := json.Marshal(out)
	return string(b), err
}

// driverRegistered tells that a driver has come, or come back: who waits for it need not wait longer.
func (m *Manager) driverRegistered(string) {
	m.stirUp()
	m.mu.Lock()
	var waiting []types.UID
	for uid, pv := range m.pods {
		if pv.wantsCSI {
			waiting = append(waiting, uid)
		}
	}
	m.mu.Unlock()
	for _, uid := range waiting {
		m.cfg.Changed(uid)
	}
}
