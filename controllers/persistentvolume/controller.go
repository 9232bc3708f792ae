// Package persistentvolume binds claims to volumes, asks provisioners for volumes that are not there, and
// follows volumes whose claims are gone. planClaim and planVolume decide; Controller acts. Binding takes
// several writes: the volume is reserved first, so that a crash in between is repaired by going on.
package persistentvolume

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

// A Controller binds claims and volumes. It has one worker: two claims must not reach for one volume.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[item]
}

// An item is a claim, or a volume if it has no namespace.
type item = owner.Key

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	p := &Controller{client: c, events: events}
	p.queue = queue.New("persistentvolumes", 1, p.sync)
	return p
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	return c.queue.Run(ctx,
		queue.Source{View: c.client.View(api.PersistentVolumes.Resource), Handle: c.volumeChanged},
		queue.Source{View: c.client.View(api.PersistentVolumeClaims.Resource), Handle: c.claimChanged},
		queue.Source{View: c.client.View(api.StorageClasses.Resource), Handle: c.classChanged},
	)
}

func (c *Controller) volumeChanged(e api.Event) {
	v := e.Object().(*corev1.PersistentVolume)
	c.queue.Add(owner.KeyOf(v))
	if ref := v.Spec.ClaimRef; ref != nil {
		c.queue.Add(item{Namespace: ref.Namespace, Name: ref.Name})
	} else {
		c.enqueuePending(volumeClass(v))
	}
}

func (c *Controller) claimChanged(e api.Event) {
	claim := e.Object().(*corev1.PersistentVolumeClaim)
	c.queue.Add(owner.KeyOf(claim))
	if claim.Spec.VolumeName != "" {
		c.queue.Add(item{Name: claim.Spec.VolumeName})
	}
	if e.Type == api.Deleted { // a volume may be reserved for it that it does not name yet
		for _, v := range api.PersistentVolumes.View(c.client).List("") {
			if reservedFor(v, claim) {
				c.queue.Add(owner.KeyOf(v))
			}
		}
	}
}

func (c *Controller) classChanged(e api.Event) {
	c.enqueuePending(e.Object().GetName())
	if e.New != nil && isDefault(e.New.(*storagev1.StorageClass)) {
		c.enqueuePending("") // claims that were made when there was no default
	}
}

// enqueuePending looks again at the claims of a class that wait for a volume.
func (c *Controller) enqueuePending(class string) {
	for _, claim := range api.PersistentVolumeClaims.View(c.client).List("") {
		if claim.Annotations[bindCompleted] == "" && (claimClass(claim) == class || claim.Spec.VolumeName != "") {
			c.queue.Add(owner.KeyOf(claim))
		}
	}
}

func (c *Controller) sync(ctx context.Context, k item) error {
	var err error
	if k.Namespace == "" {
		err = c.syncVolume(ctx, k.Name)
	} else {
		err = c.syncClaim(ctx, k)
	}
	if apierrors.IsNotFound(err) {
		return nil // gone meanwhile; the deletion brings us back
	}
	return err
}

func (c *Controller) syncClaim(ctx context.Context, k item) error {
	claim, ok := api.PersistentVolumeClaims.View(c.client).Get(k.Namespace, k.Name)
	if !ok {
		return nil
	}
	if wantsDefault(claim) {
		if class := newestDefault(api.StorageClasses.View(c.client).List("")); class != nil {
			return c.setClass(ctx, claim, class.Name) // the change brings us back here
		}
	}
	volumes := api.PersistentVolumes.View(c.client)
	var named *corev1.PersistentVolume
	if claim.Spec.VolumeName != "" {
		named, _ = volumes.Get("", claim.Spec.VolumeName)
	}
	var class *storagev1.StorageClass
	if name := claimClass(claim); name != "" {
		class, _ = api.StorageClasses.View(c.client).Get("", name)
	}
	p := planClaim(claim, volumes.List(""), named, class)
	for _, e := range p.Events {
		c.events.Event(claim, e.kind, e.reason, "%s", e.message)
	}
	if p.Volume != nil {
		return c.bind(ctx, claim, p.Volume)
	}
	if p.Provisioner != "" {
		if err := c.ask(ctx, claim, p.Provisioner); err != nil {
			return err
		}
	}
	return c.setClaim(ctx, claim, corev1.PersistentVolumeClaimStatus{Phase: p.Phase})
}

func (c *Controller) setClass(ctx context.Context, claim *corev1.PersistentVolumeClaim, class string) error {
	_, err := api.PersistentVolumeClaims.Mutate(ctx, c.client, claim.Namespace, claim.Name, "", func(now *corev1.PersistentVolumeClaim) (bool, error) {
		if now.UID != claim.UID || !wantsDefault(now) {
			return false, nil
		}
		now.Spec.StorageClassName = &class
		return true, nil
	})
	return err
}

// ask names the provisioner in the claim: it watches for that.
func (c *Controller) ask(ctx context.Context, claim *corev1.PersistentVolumeClaim, provisioner string) error {
	_, err := api.PersistentVolumeClaims.Mutate(ctx, c.client, claim.Namespace, claim.Name, "", func(now *corev1.PersistentVolumeClaim) (bool, error) {
		if now.UID != claim.UID || now.Annotations[storageProvisioner] == provisioner {
			return false, nil
		}
		metav1.SetMetaDataAnnotation(&now.ObjectMeta, storageProvisioner, provisioner)
		metav1.SetMetaDataAnnotation(&now.ObjectMeta, storageProvisionerBeta, provisioner)
		return true, nil
	})
	return err
}

var errTaken = errors.New("it has been bound to another claim")

// bind takes the four steps: reserve the volume, set its phase, name it in the claim, set the claim's status.
func (c *Controller) bind(ctx context.Context, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	v, err := api.PersistentVolumes.Mutate(ctx, c.client, "", v.Name, "", func(v *corev1.PersistentVolume) (bool, error) {
		if v.Spec.ClaimRef != nil && !reservedFor(v, claim) {
			return false, errTaken
		}
		if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID == claim.UID {
			return false, nil
		}
		if v.Spec.ClaimRef == nil {
			metav1.SetMetaDataAnnotation(&v.ObjectMeta, boundByController, "yes")
		}
		v.Spec.ClaimRef = &corev1.ObjectReference{
			APIVersion: "v1", Kind: api.PersistentVolumeClaims.Kind,
			Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
		}
		return true, nil
	})
	if err == nil {
		err = c.setVolume(ctx, v, volumePlan{Phase: corev1.VolumeBound})
	}
	if err == nil {
		claim, err = api.PersistentVolumeClaims.Mutate(ctx, c.client, claim.Namespace, claim.Name, "", func(now *corev1.PersistentVolumeClaim) (bool, error) {
			return nameVolume(now, claim, v.Name)
		})
	}
	if err == nil {
		capacity := corev1.ResourceList{corev1.ResourceStorage: v.Spec.Capacity[corev1.ResourceStorage]}
		err = c.setClaim(ctx, claim, corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, AccessModes: v.Spec.AccessModes, Capacity: capacity})
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("bind claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return err
}

func nameVolume(now, was *corev1.PersistentVolumeClaim, volume string) (bool, error) {
	if now.UID != was.UID || now.Spec.VolumeName != "" && now.Spec.VolumeName != volume {
		return false, errTaken
	}
	changed := false
	if now.Spec.VolumeName == "" {
		now.Spec.VolumeName = volume
		metav1.SetMetaDataAnnotation(&now.ObjectMeta, boundByController, "yes")
		changed = true
	}
	if now.Annotations[bindCompleted] == "" {
		metav1.SetMetaDataAnnotation(&now.ObjectMeta, bindCompleted, "yes")
		changed = true
	}
	return changed, nil
}

func (c *Controller) setClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim, st corev1.PersistentVolumeClaimStatus) error {
	_, err := api.PersistentVolumeClaims.Mutate(ctx, c.client, claim.Namespace, claim.Name, "status", func(now *corev1.PersistentVolumeClaim) (bool, error) {
		if now.UID != claim.UID {
			return false, nil
		}
		before := now.Status
		now.Status.Phase = st.Phase
		if st.Phase == corev1.ClaimBound {
			now.Status.AccessModes = st.AccessModes
			if now.Status.Capacity == nil { // later a resize decides
				now.Status.Capacity = st.Capacity
			}
		}
		return !apiequality.Semantic.DeepEqual(before, now.Status), nil
	})
	return err
}

func (c *Controller) syncVolume(ctx context.Context, name string) error {
	v, ok := api.PersistentVolumes.View(c.client).Get("", name)
	if !ok {
		return nil
	}
	var claim *corev1.PersistentVolumeClaim
	if ref := v.Spec.ClaimRef; ref != nil {
		claim, _ = api.PersistentVolumeClaims.View(c.client).Get(ref.Namespace, ref.Name)
	}
	p := planVolume(v, claim)
	for _, e := range p.Events {
		c.events.Event(v, e.kind, e.reason, "%s", e.message)
	}
	if p.Unbind {
		return c.unbind(ctx, v)
	}
	return c.setVolume(ctx, v, p)
}

// unbind frees a volume: wholly if this controller reserved it, down to the name if a user did.
func (c *Controller) unbind(ctx context.Context, v *corev1.PersistentVolume) error {
	_, err := api.PersistentVolumes.Mutate(ctx, c.client, "", v.Name, "", func(now *corev1.PersistentVolume) (bool, error) {
		if now.Spec.ClaimRef == nil || now.Spec.ClaimRef.UID != v.Spec.ClaimRef.UID {
			return false, nil
		}
		if now.Annotations[boundByController] != "" {
			delete(now.Annotations, boundByController)
			now.Spec.ClaimRef = nil
		} else {
			now.Spec.ClaimRef.UID, now.Spec.ClaimRef.ResourceVersion = "", ""
		}
		return true, nil
	})
	return err
}

func (c *Controller) setVolume(ctx context.Context, v *corev1.PersistentVolume, p volumePlan) error {
	_, err := api.PersistentVolumes.Mutate(ctx, c.client, "", v.Name, "status", func(now *corev1.PersistentVolume) (bool, error) {
		if now.UID != v.UID || now.Status.Phase == p.Phase && now.Status.Message == p.Message {
			return false, nil
		}
		now.Status.Phase, now.Status.Message, now.Status.Reason = p.Phase, p.Message, ""
		return true, nil
	})
	return err
}
