package volume

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// kinds are the kinds of volumes in the order in which the first one counts.
var kinds = strings.Fields(`hostPath gcePersistentDisk awsElasticBlockStore glusterfs flocker nfs rbd quobyte cephfs iscsi
	cinder fc flexVolume azureFile vsphereVolume photonPersistentDisk portworxVolume azureDisk scaleIO local storageos csi`)

// source checks that a volume is of exactly one kind, and a good one of its kind.
func source(f *rule.Faults, s *corev1.PersistentVolumeSpec, volume string) {
	kind := podspec.KindOf(&s.PersistentVolumeSource, kinds)
	first := func(set bool, name string) bool {
		if set && name != kind {
			f.Forbidden(specPath.Child(name), "may not specify more than 1 volume type")
			return false
		}
		return set
	}
	if first(s.HostPath != nil, "hostPath") {
		podspec.HostPath(f, s.HostPath, specPath.Child("hostPath"))
	}
	if first(s.NFS != nil, "nfs") {
		podspec.NFS(f, s.NFS, specPath.Child("nfs"))
	}
	if first(s.Local != nil, "local") {
		if s.NodeAffinity == nil {
			f.Required(specPath.Child("nodeAffinity"), "Local volume requires node affinity")
		}
		if at := specPath.Child("local", "path"); f.Need(at, s.Local.Path) {
			podspec.NoBacksteps(f, s.Local.Path, at)
		}
	}
	if first(s.CSI != nil, "csi") {
		csi(f, s.CSI, specPath.Child("csi"))
	}
	cloudSource(f, s, first)
	clusterSource(f, s, volume, first)
	if kind == "" {
		f.Required(specPath, "must specify a volume type")
	}
}

func cloudSource(f *rule.Faults, s *corev1.PersistentVolumeSpec, first func(bool, string) bool) {
	if first(s.GCEPersistentDisk != nil, "gcePersistentDisk") {
		f.Need(specPath.Child("persistentDisk", "pdName"), s.GCEPersistentDisk.PDName)
		podspec.Partition(f, s.GCEPersistentDisk.Partition, specPath.Child("persistentDisk", "partition"))
	}
	if first(s.AWSElasticBlockStore != nil, "awsElasticBlockStore") {
		f.Need(specPath.Child("awsElasticBlockStore", "volumeID"), s.AWSElasticBlockStore.VolumeID)
		podspec.Partition(f, s.AWSElasticBlockStore.Partition, specPath.Child("awsElasticBlockStore", "partition"))
	}
	if first(s.Cinder != nil, "cinder") {
		f.Need(specPath.Child("cinder", "volumeID"), s.Cinder.VolumeID)
		secretRef(f, s.Cinder.SecretRef, specPath.Child("cinder", "secretRef"))
	}
	if first(s.AzureFile != nil, "azureFile") {
		at := specPath.Child("azureFile")
		f.Need(at.Child("secretName"), s.AzureFile.SecretName)
		f.Need(at.Child("shareName"), s.AzureFile.ShareName)
		if ns := s.AzureFile.SecretNamespace; ns != nil {
			f.Need(at.Child("secretNamespace"), *ns)
		}
	}
	if first(s.AzureDisk != nil, "azureDisk") {
		podspec.AzureDisk(f, s.AzureDisk, specPath.Child("azureDisk"))
	}
	if first(s.VsphereVolume != nil, "vsphereVolume") {
		f.Need(specPath.Child("vsphereVolume", "volumePath"), s.VsphereVolume.VolumePath)
	}
	if first(s.PhotonPersistentDisk != nil, "photonPersistentDisk") {
		f.Need(specPath.Child("photonPersistentDisk", "pdID"), s.PhotonPersistentDisk.PdID)
	}
	if first(s.PortworxVolume != nil, "portworxVolume") {
		f.Need(specPath.Child("portworxVolume", "volumeID"), s.PortworxVolume.VolumeID)
	}
}

func clusterSource(f *rule.Faults, s *corev1.PersistentVolumeSpec, volume string, first func(bool, string) bool) {
	if first(s.Glusterfs != nil, "glusterfs") {
		at := specPath.Child("glusterfs")
		f.Need(at.Child("endpoints"), s.Glusterfs.EndpointsName)
		f.Need(at.Child("path"), s.Glusterfs.Path)
		if ns := s.Glusterfs.EndpointsNamespace; ns != nil {
			f.DNSLabel(at.Child("endpointsNamespace"), *ns)
		}
	}
	if first(s.Flocker != nil, "flocker") {
		podspec.Flocker(f, s.Flocker, specPath.Child("flocker"))
	}
	if first(s.RBD != nil, "rbd") {
		podspec.Monitors(f, s.RBD.CephMonitors, specPath.Child("rbd"))
		f.Need(specPath.Child("rbd", "image"), s.RBD.RBDImage)
	}
	if first(s.Quobyte != nil, "quobyte") {
		podspec.Quobyte(f, s.Quobyte, specPath.Child("quobyte"))
	}
	if first(s.CephFS != nil, "cephFS") {
		podspec.Monitors(f, s.CephFS.Monitors, specPath.Child("cephfs"))
	}
	if first(s.ISCSI != nil, "iscsi") {
		i, at := s.ISCSI, specPath.Child("iscsi")
		podspec.ISCSI(f, i.TargetPortal, i.IQN, i.Lun, i.InitiatorName, (i.DiscoveryCHAPAuth || i.SessionCHAPAuth) && i.SecretRef == nil, at)
		if i.InitiatorName != nil && len(volume+":"+i.TargetPortal) > 64 {
			f.Invalid(at.Child("targetportal"), i.TargetPortal, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
		}
	}
	if first(s.FC != nil, "fc") {
		podspec.FibreChannel(f, s.FC, specPath.Child("fc"))
	}
	if first(s.FlexVolume != nil, "flexVolume") {
		podspec.FlexVolume(f, s.FlexVolume.Driver, s.FlexVolume.Options, specPath.Child("flexVolume"))
	}
	if first(s.ScaleIO != nil, "scaleIO") {
		at := specPath.Child("scaleIO")
		f.Need(at.Child("gateway"), s.ScaleIO.Gateway)
		f.Need(at.Child("system"), s.ScaleIO.System)
		f.Need(at.Child("volumeName"), s.ScaleIO.VolumeName)
	}
	if first(s.StorageOS != nil, "storageos") {
		podspec.StorageOS(f, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, specPath.Child("storageos"))
	}
}

func csi(f *rule.Faults, s *corev1.CSIPersistentVolumeSource, at *field.Path) {
	podspec.CSIDriverName(f, s.Driver, at.Child("driver"))
	f.Need(at.Child("volumeHandle"), s.VolumeHandle)
	ref := func(r *corev1.SecretReference, at *field.Path) {
		if r == nil {
			return
		}
		if f.Need(at.Child("name"), r.Name) {
			f.DNSSubdomain(at.Child("name"), r.Name)
		}
		if f.Need(at.Child("namespace"), r.Namespace) {
			f.DNSLabel(at.Child("namespace"), r.Namespace)
		}
	}
	ref(s.ControllerPublishSecretRef, at.Child("controllerPublishSecretRef"))
	ref(s.ControllerExpandSecretRef, at.Child("controllerExpandSecretRef"))
	ref(s.NodePublishSecretRef, at.Child("nodePublishSecretRef"))
	ref(s.NodeExpandSecretRef, at.Child("nodeExpandSecretRef"))
}

func secretRef(f *rule.Faults, r *corev1.SecretReference, at *field.Path) {
	if r != nil {
		f.Need(at.Child("name"), r.Name)
		f.Need(at.Child("namespace"), r.Namespace)
	}
}
