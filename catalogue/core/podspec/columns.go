package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clipper/catalogue/table"
)

// Columns that all kinds with a pod template show with -o wide.
var (
	ContainersColumn = table.String("Containers", "Names of each container in the template.")
	ImagesColumn     = table.String("Images", "Images referenced by each container in the template.")
)

// Names prints the names of containers.
func Names(containers []corev1.Container) string {
	return joined(containers, func(c *corev1.Container) string { return c.Name })
}

// Images prints the images of containers.
func Images(containers []corev1.Container) string {
	return joined(containers, func(c *corev1.Container) string { return c.Image })
}

func joined(containers []corev1.Container, of func(*corev1.Container) string) string {
	parts := make([]string, len(containers))
	for i := range containers {
		parts[i] = of(&containers[i])
	}
	return strings.Join(parts, ",")
}
