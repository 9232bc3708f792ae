package storage

import (
	storagev1 "k8s.io/api/storage/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
)

// volumeAttachments describes VolumeAttachment.
func volumeAttachments() *catalogue.Resource {
	return catalogue.Describe[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList](catalogue.Kind[*storagev1.VolumeAttachment]{
		Resource:      api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "volumeattachments", Kind: "VolumeAttachment"},
		Default:       defaultVolumeAttachment,
		NeedsRevision: true,
		Spec:          catalogue.PartOf(func(o *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentSpec { return &o.Spec }),
		Status:        catalogue.PartOf(func(o *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentStatus { return &o.Status }),
	})
}

func defaultVolumeAttachment(a *storagev1.VolumeAttachment) {
	if inline := a.Spec.Source.InlineVolumeSpec; inline != nil {
		podspec.RoundUp(inline.Capacity)
		podspec.DefaultAzureDisk(inline.AzureDisk)
	}
}
