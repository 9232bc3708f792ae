package volume

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/api/containers"
	"clipper/mountpoint"
)

// isHugePages reports whether a medium consists of huge pages, of a size that it names or that the pod asks for.
func isHugePages(medium corev1.StorageMedium) bool {
	return medium == corev1.StorageMediumHugePages || strings.HasPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix))
}

// mountHugePages mounts a file system of huge pages on dir unless there is one.
func mountHugePages(pod *corev1.Pod, medium corev1.StorageMedium, dir string) error {
	size, err := pageSize(pod, medium)
	if err != nil {
		return err
	}
	mounted, err := mountpoint.Is(dir)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount("nodev", dir, "hugetlbfs", 0, "pagesize="+size.String()); err != nil {
		return fmt.Errorf("mount huge pages of %s on %s: %w", size.String(), dir, err)
	}
	return nil
}

// pageSize returns the size of the pages of a volume: one that the pod's containers ask for.
func pageSize(pod *corev1.Pod, medium corev1.StorageMedium) (resource.Quantity, error) {
	var found *resource.Quantity
	for _, name := range requested(pod) {
		text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
		if !ok {
			continue
		}
		size, err := resource.ParseQuantity(text)
		if err != nil {
			return resource.Quantity{}, err
		}
		switch {
		case medium != corev1.StorageMediumHugePages:
			if string(medium) == string(corev1.StorageMediumHugePagesPrefix)+text {
				return size, nil
			}
		case found != nil && found.Cmp(size) != 0:
			return resource.Quantity{}, fmt.Errorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
		default:
			found = &size
		}
	}
	if found == nil {
		return resource.Quantity{}, fmt.Errorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
	}
	return *found, nil
}

// requested lists the resources that the pod or its containers ask for.
func requested(pod *corev1.Pod) []corev1.ResourceName {
	var out []corev1.ResourceName
	add := func(l corev1.ResourceList) {
		for name := range l {
			out = append(out, name)
		}
	}
	if pod.Spec.Resources != nil {
		add(pod.Spec.Resources.Requests)
	}
	for c := range containers.Of(&pod.Spec) {
		add(c.Resources.Requests)
	}
	return out
}
