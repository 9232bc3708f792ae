package podspec

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// Kinds of volume that drivers outside the server serve today. Their rules stay: the fields do.

func (v *validating) diskSource(s *corev1.VolumeSource, kind, name string, at *field.Path) {
	switch kind {
	case "gcePersistentDisk":
		v.Need(at.Child("persistentDisk", "pdName"), s.GCEPersistentDisk.PDName)
		Partition(v.Faults, s.GCEPersistentDisk.Partition, at.Child("persistentDisk", "partition"))
	case "awsElasticBlockStore":
		v.Need(at.Child("awsElasticBlockStore", "volumeID"), s.AWSElasticBlockStore.VolumeID)
		Partition(v.Faults, s.AWSElasticBlockStore.Partition, at.Child("awsElasticBlockStore", "partition"))
	case "cinder":
		v.Need(at.Child("cinder", "volumeID"), s.Cinder.VolumeID)
		v.secretName(s.Cinder.SecretRef, at.Child("cinder"))
	case "fc":
		FibreChannel(v.Faults, s.FC, at.Child("fc"))
	case "vsphereVolume":
		v.Need(at.Child("vsphereVolume", "volumePath"), s.VsphereVolume.VolumePath)
	case "photonPersistentDisk":
		v.Need(at.Child("photonPersistentDisk", "pdID"), s.PhotonPersistentDisk.PdID)
	case "azureDisk":
		AzureDisk(v.Faults, s.AzureDisk, at.Child("azureDisk"))
	case "scaleIO":
		v.Need(at.Child("scaleIO", "gateway"), s.ScaleIO.Gateway)
		v.Need(at.Child("scaleIO", "system"), s.ScaleIO.System)
		v.Need(at.Child("scaleIO", "volumeName"), s.ScaleIO.VolumeName)
	case "iscsi":
		i := s.ISCSI
		v.iscsi(i, at.Child("iscsi"))
		if i.InitiatorName != nil && len(name+":"+i.TargetPortal) > 64 {
			v.Invalid(at.Child("iscsi", "name"), name, "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.")
		}
	}
}

func (v *validating) networkSource(s *corev1.VolumeSource, kind string, at *field.Path) {
	switch kind {
	case "nfs":
		NFS(v.Faults, s.NFS, at.Child("nfs"))
	case "glusterfs":
		v.Need(at.Child("glusterfs", "endpoints"), s.Glusterfs.EndpointsName)
		v.Need(at.Child("glusterfs", "path"), s.Glusterfs.Path)
	case "flocker":
		Flocker(v.Faults, s.Flocker, at.Child("flocker"))
	case "rbd":
		Monitors(v.Faults, s.RBD.CephMonitors, at.Child("rbd"))
		v.Need(at.Child("rbd", "image"), s.RBD.RBDImage)
	case "cephfs":
		Monitors(v.Faults, s.CephFS.Monitors, at.Child("cephfs"))
	case "quobyte":
		Quobyte(v.Faults, s.Quobyte, at.Child("quobyte"))
	case "flexVolume":
		FlexVolume(v.Faults, s.FlexVolume.Driver, s.FlexVolume.Options, at.Child("flexVolume"))
	case "azureFile":
		v.Need(at.Child("azureFile", "secretName"), s.AzureFile.SecretName)
		v.Need(at.Child("azureFile", "shareName"), s.AzureFile.ShareName)
	case "portworxVolume":
		v.Need(at.Child("portworxVolume", "volumeID"), s.PortworxVolume.VolumeID)
	case "storageos":
		StorageOS(v.Faults, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at.Child("storageos"))
		v.secretName(s.StorageOS.SecretRef, at.Child("storageos"))
	}
}

func (v *validating) secretName(ref *corev1.LocalObjectReference, at *field.Path) {
	if ref != nil {
		v.Need(at.Child("secretRef", "name"), ref.Name)
	}
}

// Partition checks a partition's number; 0 is the whole disk.
func Partition(f *rule.Faults, n int32, at *field.Path) {
	if n < 0 || n > 255 {
		f.Invalid(at, n, utilvalidation.InclusiveRangeError(1, 255))
	}
}

// NFS checks an nfs source.
func NFS(f *rule.Faults, s *corev1.NFSVolumeSource, at *field.Path) {
	f.Need(at.Child("server"), s.Server)
	f.Need(at.Child("path"), s.Path)
	if !strings.HasPrefix(s.Path, "/") {
		f.Invalid(at.Child("path"), s.Path, "must be an absolute path")
	}
}

// Monitors checks the monitors of a Ceph source.
func Monitors(f *rule.Faults, monitors []string, at *field.Path) {
	if len(monitors) == 0 {
		f.Required(at.Child("monitors"), "")
	}
}

// Flocker checks a flocker source.
func Flocker(f *rule.Faults, s *corev1.FlockerVolumeSource, at *field.Path) {
	switch {
	case s.DatasetName == "" && s.DatasetUUID == "":
		f.Required(at, "one of datasetName and datasetUUID is required")
	case s.DatasetName != "" && s.DatasetUUID != "":
		f.Invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(s.DatasetName, "/") {
		f.Invalid(at.Child("datasetName"), s.DatasetName, "must not contain '/'")
	}
}

// Quobyte checks a quobyte source.
func Quobyte(f *rule.Faults, s *corev1.QuobyteVolumeSource, at *field.Path) {
	if s.Registry == "" {
		f.Required(at.Child("registry"), "must be a host:port pair or multiple pairs separated by commas")
	} else {
		for _, pair := range strings.Split(s.Registry, ",") {
			if host, port, ok := strings.Cut(pair, ":"); !ok || host == "" || port == "" {
				f.Invalid(at.Child("registry"), s.Registry, "must be a host:port pair or multiple pairs separated by commas")
			}
		}
	}
	if s.Tenant != "" && len(s.Tenant) >= 65 {
		f.Required(at.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
	}
	f.Need(at.Child("volume"), s.Volume)
}

// StorageOS checks what both forms of the source share.
func StorageOS(f *rule.Faults, name, namespace string, at *field.Path) {
	if f.Need(at.Child("volumeName"), name) {
		f.DNSLabel(at.Child("volumeName"), name)
	}
	if namespace != "" {
		f.DNSLabel(at.Child("volumeNamespace"), namespace)
	}
}

// FlexVolume checks what both forms of the source share.
func FlexVolume(f *rule.Faults, driver string, options map[string]string, at *field.Path) {
	f.Need(at.Child("driver"), driver)
	for _, key := range slices.Sorted(maps.Keys(options)) {
		domain, _, _ := strings.Cut(key, "/")
		domain = "." + strings.ToLower(domain)
		if strings.HasSuffix(domain, ".kubernetes.io") || strings.HasSuffix(domain, ".k8s.io") {
			f.Invalid(at.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

// FibreChannel checks an fc source.
func FibreChannel(f *rule.Faults, s *corev1.FCVolumeSource, at *field.Path) {
	switch {
	case len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0:
		f.Required(at.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both")
	case len(s.TargetWWNs) != 0 && len(s.WWIDs) != 0:
		f.Invalid(at.Child("targetWWNs"), s.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if len(s.TargetWWNs) == 0 {
		return
	}
	if s.Lun == nil {
		f.Required(at.Child("lun"), "lun is required if targetWWNs is specified")
	} else if *s.Lun < 0 || *s.Lun > 255 {
		f.Invalid(at.Child("lun"), s.Lun, utilvalidation.InclusiveRangeError(0, 255))
	}
}

// AzureDisk checks an azureDisk source.
func AzureDisk(f *rule.Faults, s *corev1.AzureDiskVolumeSource, at *field.Path) {
	f.Need(at.Child("diskName"), s.DiskName)
	f.Need(at.Child("diskURI"), s.DataDiskURI)
	if s.CachingMode != nil {
		rule.OneOf(f, at.Child("cachingMode"), *s.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if s.Kind == nil {
		return
	}
	rule.OneOf(f, at.Child("kind"), *s.Kind, corev1.AzureSharedBlobDisk, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk)
	switch managed := *s.Kind == corev1.AzureManagedDisk; {
	case managed && !strings.HasPrefix(s.DataDiskURI, "/subscriptions/"):
		f.Add(field.NotSupported(at.Child("diskURI"), s.DataDiskURI, []string{"/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"}))
	case !managed && !strings.HasPrefix(s.DataDiskURI, "https://"):
		f.Add(field.NotSupported(at.Child("diskURI"), s.DataDiskURI, []string{"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"}))
	}
}

var iscsiNames = map[string]*regexp.Regexp{
	"iqn": regexp.MustCompile(`^iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`),
	"eui": regexp.MustCompile(`^eui.[[:alnum:]]{16}$`),
	"naa": regexp.MustCompile(`^naa.[[:alnum:]]{32}$`),
}

func (v *validating) iscsi(s *corev1.ISCSIVolumeSource, at *field.Path) {
	name := func(name string, at *field.Path) {
		if fault := ISCSINameFault(name); fault != "" {
			v.Invalid(at, name, fault)
		}
	}
	v.Need(at.Child("targetPortal"), s.TargetPortal)
	if v.Need(at.Child("iqn"), s.IQN) {
		name(s.IQN, at.Child("iqn"))
	}
	ISCSIUnit(v.Faults, s.Lun, at.Child("lun"))
	if (s.DiscoveryCHAPAuth || s.SessionCHAPAuth) && s.SecretRef == nil {
		v.Required(at.Child("secretRef"), "")
	}
	if s.InitiatorName != nil {
		name(*s.InitiatorName, at.Child("initiatorname"))
	}
}

// ISCSIUnit checks the number of a logical unit.
func ISCSIUnit(f *rule.Faults, lun int32, at *field.Path) {
	if lun < 0 || lun > 255 {
		f.Invalid(at, lun, utilvalidation.InclusiveRangeError(0, 255))
	}
}

// ISCSINameFault says what is wrong with the name of a target or an initiator; "" if nothing is.
func ISCSINameFault(name string) string {
	for prefix, form := range iscsiNames {
		if strings.HasPrefix(name, prefix) {
			if !form.MatchString(name) {
				return "must be valid format"
			}
			return ""
		}
	}
	return "must be valid format starting with iqn, eui, or naa"
}

// CSIDriverName checks the name of a storage driver.
func CSIDriverName(f *rule.Faults, name string, at *field.Path) {
	if !f.Need(at, name) {
		return
	}
	if len(name) > 63 {
		f.Add(field.TooLong(at, "", 63))
	}
	f.Each(at, name, utilvalidation.IsDNS1123Subdomain(strings.ToLower(name)))
}
