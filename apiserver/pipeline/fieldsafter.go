package pipeline

import (
	"context"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"clipper/api"
	"clipper/apiserver/admission"
)

// badFields is what upstream says of plug-ins and webhooks that leave managedFields behind which nobody can read.
const badFields = ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: %v"

// mutate has admission change obj. managedFields that come out of it broken are put back as they were.
func (w *write) mutate(ctx context.Context, op admission.Operation, obj, old api.Object) error {
	if w.p.admission == nil || w.req.Admitted {
		return nil
	}
	if obj == nil {
		return w.p.admission.Admit(ctx, w.attributes(op, obj, old))
	}
	changed := fieldsBefore(obj)
	if err := w.p.admission.Admit(ctx, w.attributes(op, obj, old)); err != nil {
		return err
	}
	before, ok := changed()
	if !ok {
		return nil
	}
	if err := managedfields.ValidateManagedFields(obj.GetManagedFields()); err != nil {
		obj.SetManagedFields(before)
		w.warn(fmt.Sprintf(badFields, err))
	}
	return nil
}

// fieldsBefore returns what tells later whether obj has got other managedFields, and which it had. Looking into them
// costs too much to be done for every write: whoever changes an object's owners puts a list in the place of the list.
func fieldsBefore(obj api.Object) (changed func() ([]metav1.ManagedFieldsEntry, bool)) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		content := u.Object
		return func() ([]metav1.ManagedFieldsEntry, bool) {
			if reflect.ValueOf(content).Pointer() == reflect.ValueOf(u.Object).Pointer() {
				return nil, false
			}
			return (&unstructured.Unstructured{Object: content}).GetManagedFields(), true
		}
	}
	before := obj.GetManagedFields()
	return func() ([]metav1.ManagedFieldsEntry, bool) {
		after := obj.GetManagedFields()
		same := len(before) == len(after) && (len(after) == 0 || &before[0] == &after[0])
		return before, !same
	}
}
