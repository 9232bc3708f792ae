package podspec

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TestAllowPrivileged: privileged containers are refused where the cluster's policy says so, in upstream's words.
func TestAllowPrivileged(t *testing.T) {
	privileged := true
	spec := &corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a", SecurityContext: &corev1.SecurityContext{Privileged: &privileged}}}}
	Default(spec)
	t.Cleanup(func() { AllowPrivileged(true) })
	for _, allow := range []bool{true, false} {
		AllowPrivileged(allow)
		faults := Validate(spec, &metav1.ObjectMeta{Name: "p"}, field.NewPath("spec"), Options{})
		switch {
		case allow && len(faults) > 0:
			t.Errorf("allowed, and refused: %v", faults)
		case !allow && (len(faults) != 1 || faults[0].Error() != "spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy"):
			t.Errorf("not allowed: %v", faults)
		}
	}
}
