package catalogue

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
)

// A MetaCheck is a look at the metadata of an object that replaces old.
type MetaCheck func(r *Resource, obj, old api.Object) field.ErrorList

// Upstream's validation of each kind looks at the metadata once more, after what is checked for all kinds, and kinds differ
// in how: clients are told of a fault as often as it is seen, in this order.
var (
	// OnlyChanges is what nearly all kinds do, and what no list of checks means.
	OnlyChanges      = []MetaCheck{metaChanges}
	OnlyWhole        = []MetaCheck{wholeMeta}
	ChangesThenWhole = []MetaCheck{metaChanges, wholeMeta}
	WholeThenChanges = []MetaCheck{wholeMeta, metaChanges}
	WholeTwice       = []MetaCheck{wholeMeta, wholeMeta}
	// NoMetadata is for kinds whose own validation does it all, or nothing.
	NoMetadata = []MetaCheck{}
)

var metadataPath = field.NewPath("metadata")

// metaChanges refuses changes of what may not change.
func metaChanges(_ *Resource, obj, old api.Object) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, metadataPath)
}

// wholeMeta looks at the metadata as if the object were new, the prefix of a generated name included.
func wholeMeta(r *Resource, obj, _ api.Object) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessor(obj, r.Namespaced, r.NameFaults, metadataPath)
}

// NewMetadataFaults are those of a new object's metadata, for kinds whose own validation looks at it.
func NewMetadataFaults(obj api.Object, namespaced bool, name apivalidation.ValidateNameFunc) field.ErrorList {
	return append(apivalidation.ValidateObjectMetaAccessor(obj, namespaced, name, metadataPath), finalizerNames(obj)...)
}

// NameFaults checks a name, or the prefix of one, by the kind's own rule.
func (r *Resource) NameFaults(name string, prefix bool) []string {
	if r.ValidateName != nil {
		return r.ValidateName(name, prefix)
	}
	return apivalidation.NameIsDNSSubdomain(name, prefix)
}

// OnlyWholeNames checks names, and takes any prefix of one: what is generated from it is a name.
func OnlyWholeNames(name string, prefix bool) []string {
	if prefix {
		return nil
	}
	return apivalidation.NameIsDNSSubdomain(name, false)
}

// MetadataFaults are what the checks see, nil being OnlyChanges. Names of finalizers are looked at each time, but for the
// last: that is a part of what the kind checks itself.
func (r *Resource) MetadataFaults(checks []MetaCheck, obj, old api.Object) field.ErrorList {
	if checks == nil {
		checks = OnlyChanges
	}
	var faults field.ErrorList
	for i, check := range checks {
		if i > 0 && !r.AnyFinalizers {
			faults = append(faults, finalizerNames(obj)...)
		}
		faults = append(faults, check(r, obj, old)...)
	}
	return faults
}
