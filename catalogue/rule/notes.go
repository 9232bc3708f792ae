package rule

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Notes collects warnings: what is accepted but probably not meant.
type Notes struct {
	List []string
}

// At notes something about a field.
func (n *Notes) At(at *field.Path, format string, args ...any) {
	n.List = append(n.List, at.String()+": "+fmt.Sprintf(format, args...))
}

// Say notes something about no field in particular.
func (n *Notes) Say(format string, args ...any) {
	n.List = append(n.List, fmt.Sprintf(format, args...))
}

// IP notes an address that not every program reads the same way.
func (n *Notes) IP(at *field.Path, address string) {
	n.List = append(n.List, validation.GetWarningsForIP(at, address)...)
}

// CIDR notes a range that not every program reads the same way.
func (n *Notes) CIDR(at *field.Path, cidr string) {
	n.List = append(n.List, validation.GetWarningsForCIDR(at, cidr)...)
}

// Duplicate notes list entries that an earlier one makes useless; what says "duplicate ip".
func Duplicate[T any](n *Notes, at *field.Path, list []T, child, what string, key func(T) string) {
	seen := make(map[string]bool, len(list))
	for i, item := range list {
		if k := key(item); seen[k] {
			n.At(at.Index(i).Child(child), "%s %q", what, k)
		} else {
			seen[k] = true
		}
	}
}

// PodNames notes a name from which pods derive theirs, and that may be too odd for it.
func (n *Notes) PodNames(name string) {
	if faults := validation.IsDNS1123Label(name); len(faults) > 0 {
		n.Say("metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: %v", faults)
	}
}

// labelsOfOld are the node labels that newer ones replace, or nothing does.
var labelsOfOld = map[string]string{
	"beta.kubernetes.io/arch":                       `deprecated since v1.14; use "kubernetes.io/arch" instead`,
	"beta.kubernetes.io/os":                         `deprecated since v1.14; use "kubernetes.io/os" instead`,
	"failure-domain.beta.kubernetes.io/region":      `deprecated since v1.17; use "topology.kubernetes.io/region" instead`,
	"failure-domain.beta.kubernetes.io/zone":        `deprecated since v1.17; use "topology.kubernetes.io/zone" instead`,
	"beta.kubernetes.io/instance-type":              `deprecated since v1.17; use "node.kubernetes.io/instance-type" instead`,
	"app.kubernetes.io/created-by":                  `deprecated since v1.9`,
	"scheduler.alpha.kubernetes.io/preferAvoidPods": `deprecated since v1.22; use Taints and Tolerations instead`,
	"node-role.kubernetes.io/master":                `use "node-role.kubernetes.io/control-plane" instead`,
}

// NodeLabel notes a node label of old; named says whether the text repeats it.
func (n *Notes) NodeLabel(at *field.Path, label string, named bool) {
	advice, old := labelsOfOld[label]
	switch {
	case !old:
	case named:
		n.At(at, "%s is %s", label, advice)
	default:
		n.At(at, "%s", advice)
	}
}
