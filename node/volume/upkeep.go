package volume

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// upkeepEvery is how often volumes that a driver provides are looked after while a pod has one, and how often
// what could not be taken down is tried again. A kubelet does so with each regular look at a pod.
const upkeepEvery = time.Minute

// upkeepWorkers bounds the calls to drivers at one time: one that hangs must not hold up the others.
const upkeepWorkers = 8

// stirUp asks for a round of upkeep now.
func (m *Manager) stirUp() {
	select {
	case m.stir <- struct{}{}:
	default:
	}
}

// upkeep takes down what pods have left, lets volumes grow and has drivers renew what they publish.
func (m *Manager) upkeep(ctx context.Context) error {
	timer := time.NewTimer(upkeepEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.stir:
		case <-timer.C:
		}
		if m.round(ctx) {
			timer.Reset(upkeepEvery)
		} else {
			timer.Stop() // nothing to look after until stirred up
		}
		if err := pause(ctx, time.Second); err != nil { // what failed just now may have stirred
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// round does all there is to do now, and reports whether there will be more.
func (m *Manager) round(ctx context.Context) (more bool) {
	var group errgroup.Group
	group.SetLimit(upkeepWorkers)
	for _, uid := range m.orphanList() {
		more = true
		group.Go(func() error { m.removeOrphan(ctx, uid); return nil })
	}
	for _, name := range m.idleDevices() {
		more = true
		group.Go(func() error { m.takeDown(ctx, name); return nil })
	}
	for _, u := range m.csiMounts() {
		more = true
		group.Go(func() error { m.renew(ctx, u); return nil })
	}
	_ = group.Wait() // the functions return nil
	return more
}

// csiUse is a CSI volume and the pod that has it.
type csiUse struct {
	pod   *corev1.Pod
	mount *csiMount
}

func (m *Manager) csiMounts() []csiUse {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []csiUse
	for _, pv := range m.pods {
		for _, c := range pv.csi {
			if !pv.gone.Load() && (c.republish || c.claim != nil) {
				out = append(out, csiUse{pv.pod, c})
			}
		}
	}
	return out
}

// renew has the driver publish a volume anew, if it wants that, and lets it grow.
func (m *Manager) renew(ctx context.Context, u csiUse) {
	if u.pod.DeletionTimestamp != nil {
		return
	}
	v := u.mount.volume
	if v.PV != nil {
		d := m.device(v.UniqueName())
		if d == nil {
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if m.isGone(u.pod.UID) {
			return
		}
	}
	if u.mount.republish {
		if _, err := m.csi.Publish(ctx, v, u.pod, true); err != nil && ctx.Err() == nil {
			m.cfg.Recorder.Event(u.pod, corev1.EventTypeWarning, "FailedMount", "MountVolume.SetUp failed for volume %q : %v", v.Name, err)
		}
	}
	if u.mount.claim != nil {
		if err := m.expand(ctx, u.pod, u.mount); err != nil && ctx.Err() == nil {
			m.cfg.Recorder.Event(u.pod, corev1.EventTypeWarning, "VolumeResizeFailed", "NodeExpandVolume.NodeExpandVolume failed for volume %q : %v", v.Name, err)
		}
	}
}

func (m *Manager) isGone(pod types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	pv := m.pods[pod]
	return pv == nil || pv.gone.Load()
}

func (m *Manager) orphanList() []types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]types.UID(nil), m.orphans...)
}

// removeOrphan removes what is left of a pod that is gone.
func (m *Manager) removeOrphan(ctx context.Context, uid types.UID) {
	if err := m.Unmount(ctx, uid); err != nil {
		slog.Warn("Removing the volumes of a pod that is gone failed; it will be tried again", "uid", uid, "err", err)
		return
	}
	if err := m.removePodDir(uid); err != nil {
		slog.Warn("Removing the directory of a pod that is gone failed; it will be tried again", "uid", uid, "err", err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.orphans {
		if m.orphans[i] == uid {
			m.orphans = append(m.orphans[:i:i], m.orphans[i+1:]...)
			return
		}
	}
}
