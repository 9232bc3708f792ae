// Package ephemeral makes the claims of pods' generic ephemeral volumes. A claim belongs to its pod and goes with it.
package ephemeral

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

const workers = 10

// A Controller does the work of upstream's ephemeral-volume controller.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	k := &Controller{client: c, events: events}
	k.queue = queue.New("ephemeral_volume", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.client.View(api.Pods.Resource), Handle: k.podChanged},
		queue.Source{View: k.client.View(api.PersistentVolumeClaims.Resource), Handle: k.claimChanged},
	)
}

// podChanged looks at pods as they come: their volumes never change.
func (k *Controller) podChanged(e api.Event) {
	if e.Type != api.Added {
		return
	}
	pod := e.New.(*corev1.Pod)
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Ephemeral != nil {
			k.queue.Add(owner.KeyOf(pod))
			return
		}
	}
}

// claimChanged makes a claim anew that was deleted while its pod stays.
func (k *Controller) claimChanged(e api.Event) {
	if e.Type != api.Deleted {
		return
	}
	if ref := metav1.GetControllerOfNoCopy(e.Old); ref != nil && ref.Kind == "Pod" {
		k.queue.Add(owner.Key{Namespace: e.Old.GetNamespace(), Name: ref.Name})
	}
}

func (k *Controller) sync(ctx context.Context, key owner.Key) error {
	pod, ok := api.Pods.View(k.client).Get(key.Namespace, key.Name)
	if !ok || pod.DeletionTimestamp != nil {
		return nil
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil {
			continue
		}
		if err := k.ensure(ctx, pod, v); err != nil {
			k.events.Event(pod, corev1.EventTypeWarning, "FailedBinding", "ephemeral volume %s: %v", v.Name, err)
			return fmt.Errorf("pod %s, ephemeral volume %s: %w", key, v.Name, err)
		}
	}
	return nil
}

// ensure makes the claim of a volume, unless it is there.
func (k *Controller) ensure(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	name := ephemeral.VolumeClaimName(pod, v)
	if claim, ok := api.PersistentVolumeClaims.View(k.client).Get(pod.Namespace, name); ok {
		return ephemeral.VolumeIsForPod(pod, claim)
	}
	template := v.Ephemeral.VolumeClaimTemplate
	_, err := api.PersistentVolumeClaims.Create(ctx, k.client, &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, Name: name, Labels: template.Labels, Annotations: template.Annotations,
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID,
				Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true)}},
		},
		Spec: template.Spec,
	})
	if err != nil {
		return fmt.Errorf("create PVC %s: %w", name, err)
	}
	return nil
}
