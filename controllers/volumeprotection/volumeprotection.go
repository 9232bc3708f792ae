// Package volumeprotection lets go of deleted claims that no pod uses any more, of deleted volumes that no
// claim is bound to, and of deleted attribute classes that none of them names. Admission gave them the finalizers that this controller takes off.
package volumeprotection

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
	"clipper/api/podrefs"
	"clipper/apiserver/admission/storage"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const workers = 2

// A Controller does the work of upstream's pvc-protection and pv-protection controllers. Keys without a
// namespace are volumes.
type Controller struct {
	client  api.Client
	claims  api.TypedView[*corev1.PersistentVolumeClaim]
	volumes api.TypedView[*corev1.PersistentVolume]
	pods    api.TypedView[*corev1.Pod]
	queue   *queue.Queue[owner.Key]
	classes *classes
}

// New returns the controller; Run starts it.
func New(c api.Client) *Controller {
	k := &Controller{client: c, claims: api.PersistentVolumeClaims.View(c), volumes: api.PersistentVolumes.View(c), pods: api.Pods.View(c)}
	k.queue = queue.New("volumeprotection", workers, k.sync)
	k.classes = newClasses(k)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	deleted := func(e api.Event) {
		if e.Type != api.Deleted && e.New.GetDeletionTimestamp() != nil {
			k.queue.Add(owner.KeyOf(e.New))
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return k.classes.run(ctx) })
	group.Go(func() error { return k.run(ctx, deleted) })
	return group.Wait()
}

func (k *Controller) run(ctx context.Context, deleted func(api.Event)) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.claims.View, Handle: deleted},
		queue.Source{View: k.volumes.View, Handle: deleted},
		queue.Source{View: k.pods.View, Handle: func(e api.Event) {
			pod := e.Object().(*corev1.Pod)
			if e.Type != api.Deleted && uses(pod) {
				return
			}
			for i := range pod.Spec.Volumes {
				if name := podrefs.ClaimName(pod, &pod.Spec.Volumes[i]); name != "" {
					k.queue.Add(owner.Key{Namespace: pod.Namespace, Name: name})
				}
			}
		}},
	)
}

func (k *Controller) sync(ctx context.Context, key owner.Key) error {
	if key.Namespace == "" {
		pv, ok := k.volumes.Get("", key.Name)
		if !ok || pv.DeletionTimestamp == nil || pv.Status.Phase == corev1.VolumeBound {
			return nil
		}
		return release(ctx, k.client, api.PersistentVolumes, key, storage.VolumeFinalizer)
	}
	claim, ok := k.claims.Get(key.Namespace, key.Name)
	if !ok || claim.DeletionTimestamp == nil || k.inUse(key) {
		return nil
	}
	return release(ctx, k.client, api.PersistentVolumeClaims, key, storage.ClaimFinalizer)
}

func (k *Controller) inUse(key owner.Key) bool {
	for _, pod := range k.pods.List(key.Namespace) {
		if !uses(pod) {
			continue
		}
		for i := range pod.Spec.Volumes {
			if podrefs.ClaimName(pod, &pod.Spec.Volumes[i]) == key.Name {
				return true
			}
		}
	}
	return false
}

// uses says whether a pod holds its claims: once it is bound to a node, until it is over. A pod that has
// no node yet gets none: the scheduler refuses claims that are being deleted.
func uses(pod *corev1.Pod) bool {
	return pod.Spec.NodeName != "" && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func release[T api.Object](ctx context.Context, c api.Client, kind api.Kind[T], key owner.Key, finalizer string) error {
	_, err := kind.Mutate(ctx, c, key.Namespace, key.Name, "", func(o T) (bool, error) {
		before := o.GetFinalizers()
		after := slices.DeleteFunc(slices.Clone(before), func(f string) bool { return f == finalizer })
		o.SetFinalizers(after)
		return len(after) < len(before), nil
	})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("%s %s: take off %s: %w", kind.Resource.Kind, key, finalizer, err)
}
