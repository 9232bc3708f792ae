package podworker

import (
	"errors"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/network"
	"clipper/node/userns"
)

// separated reports whether the pod has a user namespace of its own.
func separated(pod *corev1.Pod) bool { return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers }

// userNamespace returns the IDs of a pod that has a user namespace of its own, else nil.
func (w *Worker) userNamespace(pod *corev1.Pod) (*userns.IDs, error) {
	if !separated(pod) {
		return nil, nil
	}
	if _, ok := w.cfg.Network.(network.UserNamespaced); !ok || !userns.Supported() {
		return nil, errors.New("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
	}
	ids, err := w.cfg.UserNamespaces.Acquire(pod.UID)
	return &ids, err
}

// separate makes the namespaces of a pod that has a user namespace, so that its network belongs to that.
func (w *Worker) separate(pod *corev1.Pod, sandbox string) error {
	ids, err := w.userNamespace(pod)
	if ids == nil || err != nil {
		return err
	}
	return w.cfg.Network.(network.UserNamespaced).Separate(sandbox, *ids)
}

// releaseIDs gives back what userNamespace took.
func (w *Worker) releaseIDs(pod *corev1.Pod) error {
	if !separated(pod) {
		return nil
	}
	return w.cfg.UserNamespaces.Release(pod.UID)
}
