package volume

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/runtime"
)

// Images makes images available as volumes. Optional: without it such volumes fail.
type Images interface {
	runtime.Images
	// MountImage mounts an image that is present and returns where; UnmountImage undoes it. id names the
	// mount. Both are idempotent.
	MountImage(ctx context.Context, id, ref string) (path string, err error)
	UnmountImage(ctx context.Context, id string) error
}

// imageMountID names the mount of an image volume.
func imageMountID(pod types.UID, volume string) string { return "volume-" + string(pod) + "-" + volume }

// mountImage pulls the image as the policy says and mounts it.
func (m *Manager) mountImage(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	if m.cfg.Images == nil {
		return errors.New("this node's image store cannot mount images")
	}
	ref := v.Image.Reference
	if err := m.cfg.EnsureImage(ctx, pod, ref, v.Image.PullPolicy); err != nil {
		return err
	}
	path, err := m.cfg.Images.MountImage(ctx, imageMountID(pod.UID, v.Name), ref)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if pv := m.pods[pod.UID]; pv != nil {
		pv.images[v.Name] = path
	}
	return nil
}

// imagePath returns where an image volume is mounted.
func (m *Manager) imagePath(pod types.UID, volume string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if pv := m.pods[pod]; pv != nil && pv.images[volume] != "" {
		return pv.images[volume], nil
	}
	return "", fmt.Errorf("the image of volume %q is not mounted", volume)
}

// unmountImages takes down the pod's image volumes. What an agent that has crashed since left mounted was
// removed at start by the runtime, with everything that belongs to no container.
func (m *Manager) unmountImages(ctx context.Context, pod types.UID) error {
	m.mu.Lock()
	var names []string
	if pv := m.pods[pod]; pv != nil {
		for n := range pv.images {
			names = append(names, n)
		}
	}
	m.mu.Unlock()
	var errs []error
	for _, n := range names {
		errs = append(errs, m.cfg.Images.UnmountImage(ctx, imageMountID(pod, n)))
	}
	return errors.Join(errs...)
}
