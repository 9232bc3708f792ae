package podworker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/node/manifests"
)

// writeRetry is the pause after a status write that failed for no fault of its content.
const writeRetry = time.Second

// conflictRetry is the pause after a conflict, should the other's object not have arrived before.
const conflictRetry = 50 * time.Millisecond

// correctAfter is how long a status that someone else has written over stands. Upstream's figure.
const correctAfter = 10 * time.Second

// sameReport reports whether two statuses say the same as far as the node has the say.
func sameReport(a, b *corev1.PodStatus) bool {
	x, y := *a, *b
	x.Conditions, y.Conditions = ownConditions(a.Conditions), ownConditions(b.Conditions)
	return apiequality.Semantic.DeepEqual(&x, &y)
}

// ownConditions returns the node's own conditions without their times.
func ownConditions(in []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range in {
		switch c.Type {
		case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady,
			corev1.PodResizePending, corev1.PodResizeInProgress:
			c.LastTransitionTime = metav1.Time{}
			out = append(out, c)
		}
	}
	return out
}

// write sends one status. final says that it was taken when nothing of the pod was left.
func (w *Worker) write(ctx context.Context, next *corev1.Pod, final bool) {
	updated, err := api.Pods.UpdateStatus(ctx, w.cfg.Client, next)
	w.post(func() {
		w.writing = false
		static := manifests.IsStatic(w.pod)
		switch {
		case static && (w.mirror == nil || w.mirror.UID != next.UID):
			// The mirror was replaced meanwhile: what became of the old one's status does not matter.
		case static && apierrors.IsNotFound(err):
			w.mirror = nil // the agent makes another
		case static && err == nil:
			w.mirror, w.sent = updated, &next.Status
			w.o.Reported = w.o.Reported || final
		case apierrors.IsNotFound(err) || (err == nil && updated.UID != next.UID):
			w.o.Gone = true
		case apierrors.IsConflict(err):
			// Someone else wrote first. Their object is on its way; the status is derived anew from it.
			w.writeAt = time.Now().Add(conflictRetry)
		case err != nil:
			if ctx.Err() == nil {
				w.log.Warn("Writing a pod's status failed", "err", err)
			}
			w.writeAt = time.Now().Add(writeRetry)
		default:
			w.sent = &next.Status
			w.setPod(updated)
			w.o.Reported = w.o.Reported || final
		}
	})
}

// deleteFromAPI removes the object for good, if it is still the same pod.
func (w *Worker) deleteFromAPI(ctx context.Context, pod *corev1.Pod) error {
	var now int64
	err := api.Pods.DeleteThis(ctx, w.cfg.Client, pod, metav1.DeleteOptions{GracePeriodSeconds: &now})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another pod of that name
	}
	return err
}
