package storage

import (
	"strings"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// csiDrivers describes CSIDriver.
func csiDrivers() *catalogue.Resource {
	return catalogue.Describe[storagev1.CSIDriver, storagev1.CSIDriverList](catalogue.Kind[*storagev1.CSIDriver]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "csidrivers", Kind: "CSIDriver"},
		ValidateCreate: validateCSIDriver,
		ValidateUpdate: validateCSIDriverUpdate,
		PrepareCreate:  func(d *storagev1.CSIDriver) { d.Spec.PreventPodSchedulingIfMissing = nil },
		PrepareUpdate: func(d, old *storagev1.CSIDriver) {
			if old.Spec.PreventPodSchedulingIfMissing == nil {
				d.Spec.PreventPodSchedulingIfMissing = nil
			}
			if !equality.Semantic.DeepEqual(d.Spec, old.Spec) {
				d.Generation = old.Generation + 1
			}
		},
		Warnings:      csiDriverWarnings,
		Columns:       csiDriverColumns,
		Row:           csiDriverRow,
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

func csiDriverWarnings(d, old *storagev1.CSIDriver) []string {
	s := &d.Spec
	if len(s.TokenRequests) == 0 || s.ServiceAccountTokenInSecrets != nil ||
		old != nil && equality.Semantic.DeepEqual(s.TokenRequests, old.Spec.TokenRequests) {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible " +
		"logging of tokens in volume attributes"}
}

var csiDriverColumns = []table.Column{
	table.Name,
	table.Boolean("AttachRequired", table.Doc(storagev1.CSIDriverSpec{}, "attachRequired")),
	table.Boolean("PodInfoOnMount", table.Doc(storagev1.CSIDriverSpec{}, "podInfoOnMount")),
	table.Boolean("StorageCapacity", table.Doc(storagev1.CSIDriverSpec{}, "storageCapacity")),
	table.String("TokenRequests", table.Doc(storagev1.CSIDriverSpec{}, "tokenRequests")),
	table.Boolean("RequiresRepublish", table.Doc(storagev1.CSIDriverSpec{}, "requiresRepublish")),
	table.String("Modes", table.Doc(storagev1.CSIDriverSpec{}, "volumeLifecycleModes")),
	table.Age,
}

func csiDriverRow(d *storagev1.CSIDriver, now time.Time) []any {
	s := &d.Spec
	var modes, audiences []string
	for _, m := range s.VolumeLifecycleModes {
		modes = append(modes, string(m))
	}
	for _, r := range s.TokenRequests {
		audiences = append(audiences, r.Audience)
	}
	tokens := table.Unset
	if s.TokenRequests != nil {
		tokens = strings.Join(audiences, ",")
	}
	is := func(p *bool) bool { return p != nil && *p }
	return []any{
		d.Name, s.AttachRequired == nil || *s.AttachRequired, is(s.PodInfoOnMount), is(s.StorageCapacity), tokens, is(s.RequiresRepublish),
		table.Or(strings.Join(modes, ","), table.None), table.Since(d.CreationTimestamp, now),
	}
}
