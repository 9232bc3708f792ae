package catalogue

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
)

// standardFinalizers need no domain: the server itself gives them their meaning.
var standardFinalizers = []string{
	string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents,
}

// FinalizerName refuses the name of a finalizer that could be anybody's. Built-in kinds are stricter in this
// than custom ones.
func FinalizerName(at *field.Path, name string) field.ErrorList {
	if strings.Contains(name, "/") || slices.Contains(standardFinalizers, name) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, name, "name is neither a standard finalizer name nor is it fully qualified")}
}

func finalizerNames(obj api.Object) field.ErrorList {
	var faults field.ErrorList
	for i, name := range obj.GetFinalizers() {
		faults = append(faults, FinalizerName(field.NewPath("metadata", "finalizers").Index(i), name)...)
	}
	return faults
}
