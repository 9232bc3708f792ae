package storage

import (
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/volume"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// volumeAttachments describes VolumeAttachment.
func volumeAttachments() *catalogue.Resource {
	return catalogue.Describe[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList](catalogue.Kind[*storagev1.VolumeAttachment]{
		Resource:       api.Resource{Group: "storage.k8s.io", Version: "v1", Name: "volumeattachments", Kind: "VolumeAttachment"},
		ValidateCreate: validateAttachment,
		Metadata:       catalogue.OnlyWhole, StatusMetadata: catalogue.OnlyWhole,
		ValidateUpdate: validateAttachmentUpdate,
		PrepareStatus: func(a, old *storagev1.VolumeAttachment) {
			metav1.ResetObjectMetaForStatus(&a.ObjectMeta, &old.ObjectMeta)
		},
		ValidateStatus: func(a, _ *storagev1.VolumeAttachment) field.ErrorList {
			f := &rule.Faults{}
			attachmentStatus(f, &a.Status)
			return f.List
		},
		Columns:       attachmentColumns,
		Row:           attachmentRow,
		Default:       defaultVolumeAttachment,
		NeedsRevision: true,
		Spec:          catalogue.PartOf(func(o *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentSpec { return &o.Spec }),
		Status:        catalogue.PartOf(func(o *storagev1.VolumeAttachment) *storagev1.VolumeAttachmentStatus { return &o.Status }),
	})
}

func defaultVolumeAttachment(a *storagev1.VolumeAttachment) {
	if inline := a.Spec.Source.InlineVolumeSpec; inline != nil {
		volume.DefaultSource(inline)
	}
}

var attachmentColumns = []table.Column{
	table.Name,
	table.Column{Name: "Attacher", Type: "string", Format: "name", Description: table.Doc(storagev1.VolumeAttachmentSpec{}, "attacher")},
	table.String("PV", table.Doc(storagev1.VolumeAttachmentSource{}, "persistentVolumeName")),
	table.String("Node", table.Doc(storagev1.VolumeAttachmentSpec{}, "nodeName")),
	table.Boolean("Attached", table.Doc(storagev1.VolumeAttachmentStatus{}, "attached")),
	table.Age,
}

func attachmentRow(a *storagev1.VolumeAttachment, now time.Time) []any {
	var name string
	if a.Spec.Source.PersistentVolumeName != nil {
		name = *a.Spec.Source.PersistentVolumeName
	}
	return []any{a.Name, a.Spec.Attacher, name, a.Spec.NodeName, a.Status.Attached, table.Since(a.CreationTimestamp, now)}
}
