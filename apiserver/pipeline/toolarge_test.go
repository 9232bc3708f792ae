package pipeline

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
	"clipper/store/log"
)

// A smallStore takes no object with managedFields.
type smallStore struct{ Store }

func (smallStore) Commit(_ context.Context, c store.Write) (*store.Item, error) {
	if len(c.Object.GetManagedFields()) > 0 {
		return nil, &log.FaultError{Err: errors.New("etcdserver: request is too large"), TooLarge: true}
	}
	return &store.Item{Object: c.Object}, nil
}

// TestTooLarge: an object whose managedFields make it too large is stored without them, except by an apply.
func TestTooLarge(t *testing.T) {
	for _, apply := range []bool{false, true} {
		o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}}}}
		w := &write{p: &Pipeline{store: smallStore{}}, apply: apply}
		item, err := w.commit(t.Context(), store.Write{Object: o})
		if apply != (err != nil) {
			t.Errorf("apply %t: %v, %v", apply, item, err)
		}
	}
}
