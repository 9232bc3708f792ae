package storage

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// storageClasses describes StorageClass.
func storageClasses() *catalogue.Resource {
	return catalogue.Describe[storagev1.StorageClass, storagev1.StorageClassList](catalogue.Kind[*storagev1.StorageClass]{
		Resource:       api.StorageClasses.Resource,
		Warnings:       storageClassWarnings,
		ValidateCreate: validateStorageClass,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: validateStorageClassUpdate,
		Columns:        storageClassColumns,
		Row:            storageClassRow,
		Default:        defaultStorageClass,
		ShortNames:     []string{"sc"},
	})
}

func defaultStorageClass(c *storagev1.StorageClass) {
	rule.SetIfNil(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	rule.SetIfNil(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

var storageClassColumns = []table.Column{
	table.Name,
	table.String("Provisioner", table.Doc(storagev1.StorageClass{}, "provisioner")),
	table.String("ReclaimPolicy", table.Doc(storagev1.StorageClass{}, "reclaimPolicy")),
	table.String("VolumeBindingMode", table.Doc(storagev1.StorageClass{}, "volumeBindingMode")),
	table.String("AllowVolumeExpansion", table.Doc(storagev1.StorageClass{}, "allowVolumeExpansion")),
	table.Age,
}

func storageClassRow(c *storagev1.StorageClass, now time.Time) []any {
	name := c.Name
	if c.Annotations["storageclass.kubernetes.io/is-default-class"] == "true" || c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] == "true" {
		name += " (default)"
	}
	reclaim, binding := corev1.PersistentVolumeReclaimDelete, storagev1.VolumeBindingImmediate
	if c.ReclaimPolicy != nil {
		reclaim = *c.ReclaimPolicy
	}
	if c.VolumeBindingMode != nil {
		binding = *c.VolumeBindingMode
	}
	expand := c.AllowVolumeExpansion != nil && *c.AllowVolumeExpansion
	return []any{name, c.Provisioner, string(reclaim), string(binding), expand, table.Since(c.CreationTimestamp, now)}
}

func storageClassWarnings(c, _ *storagev1.StorageClass) []string {
	n := &rule.Notes{}
	for i, term := range c.AllowedTopologies {
		for j, e := range term.MatchLabelExpressions {
			n.NodeLabel(field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), e.Key, false)
		}
	}
	return n.List
}
