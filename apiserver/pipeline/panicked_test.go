package pipeline

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
)

// TestPanicked: a fault in one deletion of many is an error of its goroutine, not the end of the process.
func TestPanicked(t *testing.T) {
	broken := &Pipeline{} // without a store
	err := broken.deleteOne(t.Context(), Request{Resource: podResource}, store.Key{Name: "a"}, &metav1.DeleteOptions{})
	if _, ok := err.(*panicked); !ok {
		t.Errorf("%v", err)
	}
}
