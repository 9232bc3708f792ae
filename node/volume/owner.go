package volume

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/volume/fsgroup"
)

// When a long change of owner is told of. Upstream's figures.
const (
	firstProgress = 30 * time.Second
	nextProgress  = time.Minute
)

// ownVolume gives a volume that outlives pods to the pod's group, as the pod's policy says. A change that takes
// long is told of.
func (m *Manager) ownVolume(ctx context.Context, pod *corev1.Pod, name, dir string) error {
	gid := fsgroup.Of(pod)
	if gid == nil {
		return nil
	}
	if p := pod.Spec.SecurityContext.FSGroupChangePolicy; p != nil && *p == corev1.FSGroupChangeOnRootMismatch && fsgroup.Has(dir, *gid) {
		return nil
	}
	var done atomic.Int64
	finished := make(chan error, 1)
	go func() { finished <- fsgroup.Give(ctx, dir, *gid, false, &done) }() // ends with ctx
	tick := time.NewTimer(firstProgress)
	defer tick.Stop()
	for told := false; ; told = true {
		select {
		case err := <-finished:
			return err
		case <-tick.C:
			tick.Reset(nextProgress)
		}
		message := fmt.Sprintf("Setting volume ownership for %s, processed %d files.", name, done.Load())
		if !told {
			message = fmt.Sprintf("Setting volume ownership for %s is taking longer than expected, consider using OnRootMismatch - "+
				"https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods", name)
		}
		m.cfg.Recorder.Event(pod, corev1.EventTypeWarning, "VolumePermissionChangeInProgress", "%s", message)
	}
}
