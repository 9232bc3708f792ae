package admission

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// optionsOf is what admission shows of a request's options. A patch is an update, or a create if there was
// nothing to patch.
func optionsOf(op Operation, given runtime.Object) runtime.Object {
	dryRun, manager, validation := writeOptions(given)
	switch op {
	case Create:
		return &metav1.CreateOptions{TypeMeta: optionsKind("CreateOptions"), DryRun: dryRun, FieldManager: manager, FieldValidation: validation}
	case Update:
		return &metav1.UpdateOptions{TypeMeta: optionsKind("UpdateOptions"), DryRun: dryRun, FieldManager: manager, FieldValidation: validation}
	case Delete:
		out := &metav1.DeleteOptions{}
		if o, ok := given.(*metav1.DeleteOptions); ok {
			*out = *o
		}
		out.TypeMeta = optionsKind("DeleteOptions")
		return out
	}
	return nil
}

func writeOptions(given runtime.Object) (dryRun []string, manager, validation string) {
	switch o := given.(type) {
	case *metav1.CreateOptions:
		return o.DryRun, o.FieldManager, o.FieldValidation
	case *metav1.UpdateOptions:
		return o.DryRun, o.FieldManager, o.FieldValidation
	case *metav1.PatchOptions:
		return o.DryRun, o.FieldManager, o.FieldValidation
	}
	return nil, "", ""
}

func optionsKind(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: metav1.SchemeGroupVersion.String(), Kind: kind}
}
