// Package volumeexpand tells users of claims that are to grow who is going to do it: never this controller, always a
// driver's resizer, which is another program.
package volumeexpand

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	csitranslation "k8s.io/csi-translation-lib"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

// resizer names on a claim the program that is to let it grow.
const resizer = "volume.kubernetes.io/storage-resizer"

// A Controller does what is left of upstream's expand controller.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[owner.Key]
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	k := &Controller{client: c, events: events}
	k.queue = queue.New("volume_expand", 1, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	return k.queue.Run(ctx, queue.Source{View: k.client.View(api.PersistentVolumeClaims.Resource), Handle: k.claimChanged})
}

func (k *Controller) claimChanged(e api.Event) {
	if e.Type == api.Deleted {
		return
	}
	claim := e.New.(*corev1.PersistentVolumeClaim)
	if e.Old != nil && size(e.Old.(*corev1.PersistentVolumeClaim).Spec.Resources.Requests).Cmp(*size(claim.Spec.Resources.Requests)) == 0 {
		return
	}
	if claim.Status.Phase == corev1.ClaimBound {
		k.queue.Add(owner.KeyOf(claim))
	}
}

func (k *Controller) sync(ctx context.Context, key owner.Key) error {
	claim, ok := api.PersistentVolumeClaims.View(k.client).Get(key.Namespace, key.Name)
	if !ok || size(claim.Spec.Resources.Requests).Cmp(*size(claim.Status.Capacity)) <= 0 {
		return nil
	}
	pv, ok := api.PersistentVolumes.View(k.client).Get("", claim.Spec.VolumeName)
	if !ok || pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
		return nil
	}
	translate := csitranslation.New()
	if !translate.IsPVMigratable(pv) {
		k.events.Event(claim, corev1.EventTypeNormal, "ExternalExpanding", "waiting for an external controller to expand this PVC")
		return nil
	}
	kind, err := translate.GetInTreePluginNameFromSpec(pv, nil)
	if err != nil {
		return err
	}
	k.events.Event(claim, corev1.EventTypeNormal, "ExternalExpanding", "CSI migration enabled for %s; waiting for external resizer to expand the pvc", kind)
	driver, err := translate.GetCSINameFromInTreeName(kind)
	if err != nil {
		return err
	}
	_, err = api.PersistentVolumeClaims.Mutate(ctx, k.client, claim.Namespace, claim.Name, "", func(now *corev1.PersistentVolumeClaim) (bool, error) {
		if now.UID != claim.UID || now.Annotations[resizer] == driver {
			return false, nil
		}
		metav1.SetMetaDataAnnotation(&now.ObjectMeta, resizer, driver)
		return true, nil
	})
	return err
}

func size(l corev1.ResourceList) *resource.Quantity { return l.Storage() }
