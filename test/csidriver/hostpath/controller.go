package hostpath

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// lookEvery is how often the controller looks. It has few objects and no hurry; informers would hide what it does.
const lookEvery = 200 * time.Millisecond

// A Controller does what real drivers leave to sidecars: it makes volumes for claims, deletes them, answers
// VolumeAttachments and lets volumes grow.
type Controller struct {
	Client     kubernetes.Interface
	Name, Data string
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		for _, work := range []func(context.Context) error{c.provision, c.reclaim, c.attach, c.resize} {
			if err := work(ctx); err != nil && ctx.Err() == nil {
				slog.Warn("It will be tried again", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// provision makes a volume for each claim that asks this driver for one.
func (c *Controller) provision(ctx context.Context) error {
	claims, err := c.Client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for i := range claims.Items {
		claim := &claims.Items[i]
		if claim.Annotations["volume.kubernetes.io/storage-provisioner"] == c.Name && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil {
			errs = append(errs, c.provisionFor(ctx, claim))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) provisionFor(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	class, err := c.Client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer &&
		claim.Annotations["volume.kubernetes.io/selected-node"] == "" {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	block := claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == corev1.PersistentVolumeBlock
	if err := Create(c.Data, name, Meta{Block: block, Size: size.Value()}); err != nil {
		return err
	}
	source := &corev1.CSIPersistentVolumeSource{Driver: c.Name, VolumeHandle: name, VolumeAttributes: map[string]string{"made-for": claim.Name}}
	if !block {
		source.FSType = "ext4"
	}
	if secret := class.Parameters["secret-name"]; secret != "" {
		ref := &corev1.SecretReference{Name: secret, Namespace: class.Parameters["secret-namespace"]}
		source.NodeStageSecretRef, source.NodePublishSecretRef, source.NodeExpandSecretRef = ref, ref, ref
	}
	_, err = c.Client.CoreV1().PersistentVolumes().Create(ctx, &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": c.Name}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: size}, AccessModes: claim.Spec.AccessModes, VolumeMode: claim.Spec.VolumeMode,
			StorageClassName: class.Name, MountOptions: class.MountOptions, PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
			ClaimRef:               &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: source},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// reclaim deletes the volumes whose claims are gone.
func (c *Controller) reclaim(ctx context.Context) error {
	volumes, err := c.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for i := range volumes.Items {
		pv := &volumes.Items[i]
		if pv.Annotations["pv.kubernetes.io/provisioned-by"] != c.Name || pv.Status.Phase != corev1.VolumeReleased ||
			pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete || c.isAttached(ctx, pv.Name) {
			continue
		}
		err := c.Client.CoreV1().PersistentVolumes().Delete(ctx, pv.Name, metav1.DeleteOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			err = Delete(c.Data, pv.Spec.CSI.VolumeHandle)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (c *Controller) isAttached(ctx context.Context, pv string) bool {
	list, err := c.Client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	return err != nil || slices.ContainsFunc(list.Items, func(a storagev1.VolumeAttachment) bool {
		return a.Spec.Source.PersistentVolumeName != nil && *a.Spec.Source.PersistentVolumeName == pv
	})
}

// attach answers VolumeAttachments. There is nothing to attach, so that works at once.
func (c *Controller) attach(ctx context.Context) error {
	list, err := c.Client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for i := range list.Items {
		if a := &list.Items[i]; a.Spec.Attacher == c.Name {
			errs = append(errs, c.answer(ctx, a))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) answer(ctx context.Context, a *storagev1.VolumeAttachment) error {
	finalizer := "external-attacher/" + c.Name
	held := slices.Contains(a.Finalizers, finalizer)
	attachments := c.Client.StorageV1().VolumeAttachments()
	switch {
	case a.DeletionTimestamp != nil && held:
		a.Finalizers = slices.DeleteFunc(a.Finalizers, func(f string) bool { return f == finalizer })
		_, err := attachments.Update(ctx, a, metav1.UpdateOptions{})
		return err
	case a.DeletionTimestamp != nil || a.Status.Attached:
		return nil
	case !held:
		a.Finalizers = append(a.Finalizers, finalizer)
		updated, err := attachments.Update(ctx, a, metav1.UpdateOptions{})
		if err != nil {
			return err
		}
		a = updated
	}
	a.Status.Attached, a.Status.AttachError = true, nil
	a.Status.AttachmentMetadata = map[string]string{"attached-by": c.Name}
	_, err := attachments.UpdateStatus(ctx, a, metav1.UpdateOptions{})
	return err
}

// resize does the controller's part of letting volumes grow, and leaves the rest to nodes.
func (c *Controller) resize(ctx context.Context) error {
	claims, err := c.Client.CoreV1().PersistentVolumeClaims("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for i := range claims.Items {
		if claim := &claims.Items[i]; claim.Status.Phase == corev1.ClaimBound && claim.Spec.VolumeName != "" {
			errs = append(errs, c.resizeFor(ctx, claim))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) resizeFor(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	pv, err := c.Client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	allocated := claim.Status.AllocatedResources[corev1.ResourceStorage]
	if pv.Spec.CSI == nil || pv.Spec.CSI.Driver != c.Name || want.Cmp(have) <= 0 || allocated.Cmp(want) == 0 {
		return nil
	}
	m, err := GetMeta(c.Data, pv.Spec.CSI.VolumeHandle)
	if err != nil {
		return err
	}
	m.Size = want.Value()
	if err := SetMeta(c.Data, pv.Spec.CSI.VolumeHandle, m); err != nil {
		return err
	}
	pv.Spec.Capacity[corev1.ResourceStorage] = want
	if _, err := c.Client.CoreV1().PersistentVolumes().Update(ctx, pv, metav1.UpdateOptions{}); err != nil {
		return err
	}
	claim.Status.AllocatedResources = corev1.ResourceList{corev1.ResourceStorage: want}
	claim.Status.AllocatedResourceStatuses = map[corev1.ResourceName]corev1.ClaimResourceStatus{corev1.ResourceStorage: corev1.PersistentVolumeClaimNodeResizePending}
	claim.Status.Conditions = []corev1.PersistentVolumeClaimCondition{{Type: corev1.PersistentVolumeClaimFileSystemResizePending, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.Now(), Message: "Waiting for user to (re-)start a pod to finish file system resize of volume on node."}}
	_, err = c.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, metav1.UpdateOptions{})
	return err
}
