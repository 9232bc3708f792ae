package kubeletconfig

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// memoryRules are those of the memory that is reserved by NUMA node.
func memoryRules(c *Configuration) []rule {
	type place struct {
		node int32
		name corev1.ResourceName
	}
	seen := map[place]bool{}
	var out []rule
	for _, r := range c.ReservedMemory {
		for name, q := range r.Limits {
			known := name == corev1.ResourceMemory || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
			at := place{r.NumaNode, name}
			out = append(out,
				rule{known, "the limit type %q for NUMA node %d is not supported, only %v is accepted", []any{name, r.NumaNode, []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceHugePagesPrefix + "<HugePageSize>"}}},
				rule{!q.IsZero(), "reserved memory may not be zero for NUMA node %d and resource %q", []any{r.NumaNode, name}},
				rule{!seen[at], "the reserved memory has a duplicate value for NUMA node %d and resource %q", []any{r.NumaNode, name}})
			seen[at] = true
		}
	}
	return out
}
