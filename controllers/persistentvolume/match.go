package persistentvolume

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// The annotations by which the steps of binding and provisioning are known to other programs.
const (
	bindCompleted          = "pv.kubernetes.io/bind-completed"
	boundByController      = "pv.kubernetes.io/bound-by-controller"
	provisionedBy          = "pv.kubernetes.io/provisioned-by"
	selectedNode           = "volume.kubernetes.io/selected-node"
	storageProvisioner     = "volume.kubernetes.io/storage-provisioner"
	storageProvisionerBeta = "volume.beta.kubernetes.io/storage-provisioner"
)

// csiNames are the CSI drivers that took over from provisioners once compiled into Kubernetes.
var csiNames = map[string]string{
	"kubernetes.io/aws-ebs":         "ebs.csi.aws.com",
	"kubernetes.io/gce-pd":          "pd.csi.storage.gke.io",
	"kubernetes.io/azure-disk":      "disk.csi.azure.com",
	"kubernetes.io/azure-file":      "file.csi.azure.com",
	"kubernetes.io/cinder":          "cinder.csi.openstack.org",
	"kubernetes.io/vsphere-volume":  "csi.vsphere.vmware.com",
	"kubernetes.io/portworx-volume": "pxd.portworx.com",
}

func claimClass(c *corev1.PersistentVolumeClaim) string {
	if class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if c.Spec.StorageClassName != nil {
		return *c.Spec.StorageClassName
	}
	return ""
}

// wantsDefault says whether c leaves its class to the cluster and has not been given one.
func wantsDefault(c *corev1.PersistentVolumeClaim) bool {
	_, named := c.Annotations[corev1.BetaStorageClassAnnotation]
	return !named && c.Spec.StorageClassName == nil && c.Spec.VolumeName == "" && c.DeletionTimestamp == nil
}

func isDefault(class *storagev1.StorageClass) bool {
	return class.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" ||
		class.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true"
}

// newestDefault returns the default class; of several the youngest, as upstream.
func newestDefault(all []*storagev1.StorageClass) *storagev1.StorageClass {
	var best *storagev1.StorageClass
	for _, class := range all {
		if isDefault(class) && (best == nil || best.CreationTimestamp.Before(&class.CreationTimestamp)) {
			best = class
		}
	}
	return best
}

func volumeClass(v *corev1.PersistentVolume) string {
	if class, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	return v.Spec.StorageClassName
}

// reservedFor says whether v names c as its claim, by UID or, chosen by a user, by name alone.
func reservedFor(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && ref.Namespace == c.Namespace && ref.Name == c.Name && (ref.UID == "" || ref.UID == c.UID)
}

// delayed says whether c has to wait until a pod that uses it has been given a node.
func delayed(c *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) bool {
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer &&
		c.Annotations[selectedNode] == ""
}

func mode(m *corev1.PersistentVolumeMode) corev1.PersistentVolumeMode {
	if m == nil {
		return corev1.PersistentVolumeFilesystem
	}
	return *m
}

func hasModes(v *corev1.PersistentVolume, want []corev1.PersistentVolumeAccessMode) bool {
	for _, m := range want {
		if !slices.Contains(v.Spec.AccessModes, m) {
			return false
		}
	}
	return true
}

func large(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) bool {
	have, want := v.Spec.Capacity[corev1.ResourceStorage], c.Spec.Resources.Requests[corev1.ResourceStorage]
	return have.Cmp(want) >= 0
}

// match returns the volume for c: one reserved for it, or else the smallest free one that is large enough,
// of its class, modes and labels. For a delayed claim only a reserved one will do: the scheduler chooses.
func match(c *corev1.PersistentVolumeClaim, all []*corev1.PersistentVolume, wait bool) (*corev1.PersistentVolume, error) {
	selector := labels.Everything()
	if c.Spec.Selector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(c.Spec.Selector); err != nil {
			return nil, err
		}
	}
	var best *corev1.PersistentVolume
	for _, v := range all {
		if v.DeletionTimestamp != nil || !large(v, c) || mode(v.Spec.VolumeMode) != mode(c.Spec.VolumeMode) {
			continue
		}
		if reservedFor(v, c) {
			return v, nil
		}
		if wait || v.Spec.ClaimRef != nil || v.Status.Phase != corev1.VolumeAvailable || volumeClass(v) != claimClass(c) ||
			!hasModes(v, c.Spec.AccessModes) || !selector.Matches(labels.Set(v.Labels)) {
			continue
		}
		if best == nil || smaller(v, best) {
			best = v
		}
	}
	return best, nil
}

func smaller(a, b *corev1.PersistentVolume) bool {
	x, y := a.Spec.Capacity[corev1.ResourceStorage], b.Spec.Capacity[corev1.ResourceStorage]
	return x.Cmp(y) < 0
}

// mismatch says why v, which c names itself, cannot be its volume; "" if it can.
func mismatch(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) string {
	switch {
	case !large(v, c):
		return "requested PV is too small"
	case volumeClass(v) != claimClass(c):
		return "storageClassName does not match"
	case mode(v.Spec.VolumeMode) != mode(c.Spec.VolumeMode):
		return "incompatible volumeMode"
	case !hasModes(v, c.Spec.AccessModes):
		return "incompatible accessMode"
	}
	return ""
}
