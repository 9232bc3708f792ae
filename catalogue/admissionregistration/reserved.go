package admissionregistration

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const reservedSuffix = ".static.k8s.io"

// reservedName warns of names that belong to configurations read from files.
func reservedName[T metav1.Object](o, _ T) []string {
	if !strings.HasSuffix(o.GetName(), reservedSuffix) {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: names ending with %q are reserved for static manifest-based configurations and cannot be managed via the API", reservedSuffix)}
}
