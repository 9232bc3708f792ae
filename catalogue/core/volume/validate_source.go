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
func source(f *rule.Faults, s *corev1.PersistentVolumeSpec, volume string, root *field.Path) {
	has := podspec.KindsOf(&s.PersistentVolumeSource, kinds)
	if len(has) == 0 {
		f.Required(root, "must specify a volume type")
		return
	}
	commonSource(f, s, has[0], root)
	cloudSource(f, s, has[0], root)
	clusterSource(f, s, has[0], volume, root)
	for _, kind := range has[1:] {
		if kind == "cephfs" {
			kind = "cephFS" // as upstream writes it here
		}
		f.Forbidden(root.Child(kind), "may not specify more than 1 volume type")
	}
}

func commonSource(f *rule.Faults, s *corev1.PersistentVolumeSpec, kind string, root *field.Path) {
	switch kind {
	case "hostPath":
		podspec.HostPath(f, s.HostPath, root.Child("hostPath"))
	case "nfs":
		podspec.NFS(f, s.NFS, root.Child("nfs"))
	case "local":
		if at := root.Child("local", "path"); f.Need(at, s.Local.Path) {
			podspec.NoBacksteps(f, s.Local.Path, at)
		}
		if s.NodeAffinity == nil {
			f.Required(root.Child("nodeAffinity"), "Local volume requires node affinity")
		}
	case "csi":
		csi(f, s.CSI, root.Child("csi"))
	}
}

func cloudSource(f *rule.Faults, s *corev1.PersistentVolumeSpec, kind string, root *field.Path) {
	switch kind {
	case "gcePersistentDisk":
		f.Need(root.Child("persistentDisk", "pdName"), s.GCEPersistentDisk.PDName)
		podspec.Partition(f, s.GCEPersistentDisk.Partition, root.Child("persistentDisk", "partition"))
	case "awsElasticBlockStore":
		f.Need(root.Child("awsElasticBlockStore", "volumeID"), s.AWSElasticBlockStore.VolumeID)
		podspec.Partition(f, s.AWSElasticBlockStore.Partition, root.Child("awsElasticBlockStore", "partition"))
	case "cinder":
		f.Need(root.Child("cinder", "volumeID"), s.Cinder.VolumeID)
		secretRef(f, s.Cinder.SecretRef, root.Child("cinder", "secretRef"))
	case "azureFile":
		at := root.Child("azureFile")
		f.Need(at.Child("secretName"), s.AzureFile.SecretName)
		f.Need(at.Child("shareName"), s.AzureFile.ShareName)
		if ns := s.AzureFile.SecretNamespace; ns != nil {
			f.Need(at.Child("secretNamespace"), *ns)
		}
	case "azureDisk":
		podspec.AzureDisk(f, s.AzureDisk, root.Child("azureDisk"))
	case "vsphereVolume":
		f.Need(root.Child("vsphereVolume", "volumePath"), s.VsphereVolume.VolumePath)
	case "photonPersistentDisk":
		f.Need(root.Child("photonPersistentDisk", "pdID"), s.PhotonPersistentDisk.PdID)
	case "portworxVolume":
		f.Need(root.Child("portworxVolume", "volumeID"), s.PortworxVolume.VolumeID)
	}
}

func clusterSource(f *rule.Faults, s *corev1.PersistentVolumeSpec, kind, volume string, root *field.Path) {
	switch kind {
	case "glusterfs":
		at := root.Child("glusterfs")
		f.Need(at.Child("endpoints"), s.Glusterfs.EndpointsName)
		f.Need(at.Child("path"), s.Glusterfs.Path)
		if ns := s.Glusterfs.EndpointsNamespace; ns != nil {
			f.DNSLabel(at.Child("endpointsNamespace"), *ns)
		}
	case "flocker":
		podspec.Flocker(f, s.Flocker, root.Child("flocker"))
	case "rbd":
		podspec.Monitors(f, s.RBD.CephMonitors, root.Child("rbd"))
		f.Need(root.Child("rbd", "image"), s.RBD.RBDImage)
	case "quobyte":
		podspec.Quobyte(f, s.Quobyte, root.Child("quobyte"))
	case "cephfs":
		podspec.Monitors(f, s.CephFS.Monitors, root.Child("cephfs"))
	case "iscsi":
		iscsi(f, s.ISCSI, volume, root.Child("iscsi"))
	case "fc":
		podspec.FibreChannel(f, s.FC, root.Child("fc"))
	case "flexVolume":
		podspec.FlexVolume(f, s.FlexVolume.Driver, s.FlexVolume.Options, root.Child("flexVolume"))
	case "scaleIO":
		at := root.Child("scaleIO")
		f.Need(at.Child("gateway"), s.ScaleIO.Gateway)
		f.Need(at.Child("system"), s.ScaleIO.System)
		f.Need(at.Child("volumeName"), s.ScaleIO.VolumeName)
	case "storageos":
		podspec.StorageOS(f, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, root.Child("storageos"))
	}
}

// iscsi differs from the source of a pod's volume in details of its messages.
func iscsi(f *rule.Faults, s *corev1.ISCSIPersistentVolumeSource, volume string, at *field.Path) {
	f.Need(at.Child("targetPortal"), s.TargetPortal)
	if s.InitiatorName != nil && len(volume+":"+s.TargetPortal) > 64 {
		f.Invalid(at.Child("targetportal"), s.TargetPortal, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
	}
	name := func(name string, at *field.Path) {
		if podspec.ISCSINameFault(name) != "" {
			f.Invalid(at, name, "must be valid format")
		}
	}
	if f.Need(at.Child("iqn"), s.IQN) {
		name(s.IQN, at.Child("iqn"))
	}
	podspec.ISCSIUnit(f, s.Lun, at.Child("lun"))
	if s.SecretRef != nil {
		f.Need(at.Child("secretRef", "name"), s.SecretRef.Name)
	} else if s.DiscoveryCHAPAuth || s.SessionCHAPAuth {
		f.Required(at.Child("secretRef"), "")
	}
	if s.InitiatorName != nil {
		name(*s.InitiatorName, at.Child("initiatorname"))
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
