package podworker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/node/manifests"
)

// writeRetry is the pause after a status write that failed for no fault of its content.
const writeRetry = time.Second

// conflictRetry is the pause after a conflict, should the other's object not have arrived before.
const conflictRetry = 50 * time.Millisecond

// write sends one status. final says that it was taken when nothing of the pod was left.
func (w *Worker) write(ctx context.Context, next *corev1.Pod, final bool) {
	updated, err := api.Pods.UpdateStatus(ctx, w.cfg.Client, next)
	w.post(func() {
		w.writing = false
		static := manifests.IsStatic(w.pod)
		switch {
		case static && apierrors.IsNotFound(err):
			w.mirror = nil // the agent makes another
		case static && err == nil:
			w.mirror = updated
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
			w.setPod(updated)
			w.o.Reported = w.o.Reported || final
		}
	})
}

// deleteFromAPI removes the object for good, if it is still the same pod.
func (w *Worker) deleteFromAPI(ctx context.Context, pod *corev1.Pod) error {
	var now int64
	uid := pod.UID
	err := api.Pods.Delete(ctx, w.cfg.Client, pod.Namespace, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &uid}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // gone, or another pod of that name
	}
	return err
}
