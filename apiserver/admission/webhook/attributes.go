package webhook

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/apiserver/admission"
)

// Attributes shows a write to upstream's libraries, which match rules, evaluate expressions and build
// reviews. The objects are copies with kind and version: what goes over the wire must say what it is.
func Attributes(a *admission.Attributes) *upstream.VersionedAttributes {
	object, old := labelled(a, a.Object), labelled(a, a.Old)
	kind := a.Resource.GVK()
	if object != nil {
		kind = object.GetObjectKind().GroupVersionKind()
	}
	// Interfaces that hold a nil pointer are not nil: convert with care.
	var obj, oldObj runtime.Object
	if object != nil {
		obj = object
	}
	if old != nil {
		oldObj = old
	}
	attrs := upstream.NewAttributesRecord(obj, oldObj, kind, a.Namespace, name(a), a.Resource.GVR(), a.Subresource,
		upstream.Operation(a.Operation), options(a), a.DryRun, a.User)
	return &upstream.VersionedAttributes{Attributes: attrs, VersionedObject: obj, VersionedOldObject: oldObj, VersionedKind: kind}
}

func name(a *admission.Attributes) string {
	if a.Name == "" && a.Object != nil {
		return a.Object.GetName()
	}
	return a.Name
}

func labelled(a *admission.Attributes, o api.Object) api.Object {
	if o == nil {
		return nil
	}
	out := o.DeepCopyObject().(api.Object)
	if !out.GetObjectKind().GroupVersionKind().Empty() {
		return out
	}
	gvk := a.Resource.GVK()
	// Subresources such as binding carry another kind than their parent.
	if kinds, _, err := scheme.Scheme.ObjectKinds(out); err == nil && len(kinds) > 0 && !contains(kinds, gvk) {
		gvk = kinds[0]
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out
}

func contains(kinds []schema.GroupVersionKind, want schema.GroupVersionKind) bool {
	for _, k := range kinds {
		if k == want {
			return true
		}
	}
	return false
}

func options(a *admission.Attributes) runtime.Object {
	var dryRun []string
	if a.DryRun {
		dryRun = []string{v1.DryRunAll}
	}
	meta := func(kind string) v1.TypeMeta { return v1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: kind} }
	switch a.Operation {
	case admission.Create:
		return &v1.CreateOptions{TypeMeta: meta("CreateOptions"), DryRun: dryRun}
	case admission.Update:
		return &v1.UpdateOptions{TypeMeta: meta("UpdateOptions"), DryRun: dryRun}
	case admission.Delete:
		return &v1.DeleteOptions{TypeMeta: meta("DeleteOptions"), DryRun: dryRun}
	}
	return nil
}
