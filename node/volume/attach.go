package volume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// An AttachError says that a volume could not be attached to the node: another event than a failed mount.
type AttachError struct{ text string }

func (e *AttachError) Error() string { return e.text }

// EventReason is the reason of the event that tells of it.
func (e *AttachError) EventReason() string { return "FailedAttachVolume" }

// attachment names what would have to be attached, and the CSI driver that would do it.
type attachment struct{ driver, volume string }

// notAttached is upstream's message for a driver that the node does not have.
func (m *Manager) notAttached(a attachment) error {
	return &AttachError{fmt.Sprintf("AttachVolume.Attach failed for volume %q : CSINode %s does not contain driver %s", a.volume, m.cfg.NodeName, a.driver)}
}

// CSI drivers that took over from the plug-ins once compiled into Kubernetes.
const (
	driverEBS       = "ebs.csi.aws.com"
	driverGCE       = "pd.csi.storage.gke.io"
	driverAzureDisk = "disk.csi.azure.com"
	driverAzureFile = "file.csi.azure.com"
	driverCinder    = "cinder.csi.openstack.org"
	driverVSphere   = "csi.vsphere.vmware.com"
	driverPortworx  = "pxd.portworx.com"
)

// inTree returns what a volume of a migrated kind stands for, nil for all others. The name is the one that
// the translation to CSI gives it.
func inTree(v *corev1.Volume) *attachment {
	of := func(driver, id string) *attachment { return &attachment{driver, driver + "-" + id} }
	switch {
	case v.AWSElasticBlockStore != nil:
		return of(driverEBS, v.AWSElasticBlockStore.VolumeID)
	case v.GCEPersistentDisk != nil:
		return of(driverGCE, v.GCEPersistentDisk.PDName)
	case v.AzureDisk != nil:
		return of(driverAzureDisk, v.AzureDisk.DiskName)
	case v.AzureFile != nil:
		return of(driverAzureFile, v.AzureFile.ShareName)
	case v.Cinder != nil:
		return of(driverCinder, v.Cinder.VolumeID)
	case v.VsphereVolume != nil:
		return of(driverVSphere, v.VsphereVolume.VolumePath)
	case v.PortworxVolume != nil:
		return of(driverPortworx, v.PortworxVolume.VolumeID)
	}
	return nil
}

// inTreePersistent returns the driver of a persistent volume of a migrated kind, "" for all others.
func inTreePersistent(pv *corev1.PersistentVolume) string {
	s := &pv.Spec
	switch {
	case s.AWSElasticBlockStore != nil:
		return driverEBS
	case s.GCEPersistentDisk != nil:
		return driverGCE
	case s.AzureDisk != nil:
		return driverAzureDisk
	case s.AzureFile != nil:
		return driverAzureFile
	case s.Cinder != nil:
		return driverCinder
	case s.VsphereVolume != nil:
		return driverVSphere
	case s.PortworxVolume != nil:
		return driverPortworx
	}
	return ""
}
