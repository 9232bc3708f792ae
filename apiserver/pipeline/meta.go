package pipeline

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/store"
)

// optimisticLock is upstream's wording for a stale resourceVersion; clients match on it.
const optimisticLock = "the object has been modified; please apply your changes to the latest version and try again"

// A generated name is its prefix, cut to 58 characters, and five random ones: 63 is the limit for labels.
const (
	generatedSuffix = 5
	generatedPrefix = 63 - generatedSuffix
)

func (req *Request) key() store.Key {
	return store.Key{Resource: req.Resource.Prefix, Namespace: req.Namespace, Name: req.Name}
}

// groupResource names the resource as the client addressed it.
func (req *Request) groupResource() schema.GroupResource {
	if req.Kind != nil {
		return req.Kind.GVR.GroupResource()
	}
	return req.Resource.GroupResource()
}

func (req *Request) notFound() error {
	return apierrors.NewNotFound(req.groupResource(), req.Name)
}

func (req *Request) conflict(err error) error {
	return apierrors.NewConflict(req.groupResource(), req.Name, err)
}

// wipeSystemFields drops what only the server may set.
func wipeSystemFields(obj api.Object) {
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetUID("")
	obj.SetCreationTimestamp(metav1.Time{})
	obj.SetSelfLink("")
}

func fillSystemFields(obj api.Object) {
	obj.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	obj.SetUID(uuid.NewUUID())
}

// matchNamespace sets the namespace of the request in the object, or refuses the one that is there.
func (req *Request) matchNamespace(obj api.Object) error {
	want := req.Namespace
	if !req.Resource.Namespaced {
		want = ""
	}
	switch have := obj.GetNamespace(); {
	case have == want:
	case have == "", want == "":
		// A namespace given for a cluster-scoped object is dropped, not refused.
		obj.SetNamespace(want)
	default:
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// matchName refuses an object whose name is not the one in the path.
func (req *Request) matchName(obj api.Object) error {
	switch name := obj.GetName(); {
	case name == "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", req.Name))
	case name != req.Name:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, req.Name))
	}
	return nil
}

// generateName gives obj a name if it asked for a generated one, and says whether it did.
func generateName(obj api.Object) bool {
	prefix := obj.GetGenerateName()
	if prefix == "" || obj.GetName() != "" {
		return false
	}
	if len(prefix) > generatedPrefix {
		prefix = prefix[:generatedPrefix]
	}
	obj.SetName(prefix + utilrand.String(generatedSuffix))
	return true
}

const (
	duplicateOwners      = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
	duplicateOwnersAfter = ".metadata.ownerReferences contains duplicate entries after mutating admission happens; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: %v"
)

// dedupOwners drops owner references that occur twice and warns about them in the given words.
func (w *write) dedupOwners(obj api.Object, format string) {
	refs := obj.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var duplicates []string
	kept := make([]metav1.OwnerReference, 0, len(refs))
	for _, ref := range refs {
		same := func(o metav1.OwnerReference) bool { return o.UID == ref.UID && reflect.DeepEqual(o, ref) }
		if slices.ContainsFunc(kept, same) {
			duplicates = append(duplicates, string(ref.UID))
			continue
		}
		kept = append(kept, ref)
	}
	if len(duplicates) > 0 {
		w.warn(fmt.Sprintf(format, strings.Join(duplicates, ", ")))
		obj.SetOwnerReferences(kept)
	}
}

// validateCreate returns the faults of a new object, examined being what the chain found. Upstream runs a resource's own
// validation with its name rule first, and the common rule only where that one passed.
func (req *Request) validateCreate(obj api.Object, examined field.ErrorList) error {
	r := req.Resource
	faults := examined
	if !r.MetadataLast {
		faults = append(faults, apivalidation.ValidateObjectMetaAccessor(obj, r.Namespaced, r.NameFaults, metadataPath)...)
	}
	own := r.ValidateCreate
	if req.Kind != nil && req.Kind.Version != nil && req.Kind.Version.ValidateCreate != nil {
		own = req.Kind.Version.ValidateCreate
	}
	if own != nil {
		faults = append(faults, own(obj)...)
	}
	if len(faults) == 0 && (r.MetadataLast || !isPathSegment(obj)) { // only in their names the two can differ
		faults = apivalidation.ValidateObjectMetaAccessor(obj, r.Namespaced, path.ValidatePathSegmentName, metadataPath)
	}
	return req.invalid(obj, faults)
}

var metadataPath = field.NewPath("metadata")

// isPathSegment says whether obj's name, and the prefix of a generated one, can stand in a path.
func isPathSegment(obj api.Object) bool {
	prefix := obj.GetGenerateName()
	return len(path.ValidatePathSegmentName(obj.GetName(), false)) == 0 &&
		(prefix == "" || len(path.ValidatePathSegmentName(prefix, true)) == 0)
}

// validateUpdate returns the faults of an object that replaces old: examined are what the chain found, and the
// rules' those that only its kind knows.
func (req *Request) validateUpdate(obj, old api.Object, examined field.ErrorList, rules rules) error {
	meta := metadataPath
	faults := apivalidation.ValidateObjectMetaAccessor(obj, req.Resource.Namespaced, path.ValidatePathSegmentName, meta)
	changed := apivalidation.ValidateObjectMetaAccessorUpdate(obj, old, meta)
	faults = append(append(faults, changed...), examined...)
	if rules.validate != nil {
		faults = append(append(faults, req.Resource.MetadataFaults(rules.metadata, obj, old)...), rules.validate(obj, old)...)
	}
	return req.invalid(obj, faults)
}

func (req *Request) invalid(obj api.Object, faults field.ErrorList) error {
	if len(faults) == 0 {
		return nil
	}
	return apierrors.NewInvalid(req.Resource.GVK().GroupKind(), obj.GetName(), faults)
}

// checkUID answers a UID precondition that does not hold in the words of upstream's storage.
func (w *write) checkUID(want types.UID, current api.Object) error {
	var have types.UID
	if current != nil {
		have = current.GetUID()
	}
	if want == "" || want == have {
		return nil
	}
	return w.req.conflict(w.invalidObject(fmt.Sprintf("Precondition failed: UID in precondition: %v, UID in object meta: %v", want, have)))
}

// invalidObject names the key of what is stored; a dry run does not get as far as the store, whose keys have a prefix.
func (w *write) invalidObject(detail string) error {
	req, key := w.req, "/"+w.req.Resource.Prefix+"/"
	if !w.dryRun {
		key = "/registry" + key
	}
	if req.Namespace != "" {
		key += req.Namespace + "/"
	}
	return fmt.Errorf("StorageError: invalid object, Code: 4, Key: %s%s, ResourceVersion: 0, AdditionalErrorMsg: %s", key, req.Name, detail)
}
