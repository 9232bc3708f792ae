package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// csiDrivers describes CSIDriver.
func csiDrivers() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIDriver, storagev1.CSIDriverList](catalogue.Kind[*storagev1.CSIDriver]{
		Resource:      api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csidrivers", Kind: "CSIDriver"},
		Default:       defaultCSIDriver,
		NeedsRevision: true,
	})
}

func defaultCSIDriver(d *storagev1.CSIDriver) {
	s := &d.Spec
	rule.SetIfNil(&s.AttachRequired, true)
	rule.SetIfNil(&s.PodInfoOnMount, false)
	rule.SetIfNil(&s.StorageCapacity, false)
	rule.SetIfNil(&s.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	rule.SetIfNil(&s.RequiresRepublish, false)
	rule.SetIfNil(&s.SELinuxMount, false)
}
