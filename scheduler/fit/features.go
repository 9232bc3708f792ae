package fit

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	features "k8s.io/component-helpers/nodedeclaredfeatures"
)

// current is the version whose nodes have a feature without saying so, once it is old enough.
var current = version.MajorMinor(1, 36)

// requiredFeatures returns what a node must have declared that it can do, to run the pod; which pods need what is
// upstream's published list. Most need nothing.
func requiredFeatures(p *corev1.Pod) []string {
	set, err := features.DefaultFramework.InferForPodScheduling(&features.PodInfo{Spec: &p.Spec}, current)
	if err != nil || set.IsEmpty() {
		return nil // the only error is that of a missing version
	}
	names, err := features.DefaultFramework.Unmap(set)
	if err != nil {
		return nil // the set is the framework's own
	}
	return names
}

// declares reports whether a node has all those features. Nodes sort what they declare.
func declares(n *corev1.Node, required []string) bool {
	for _, f := range required {
		if _, ok := slices.BinarySearch(n.Status.DeclaredFeatures, f); !ok {
			return false
		}
	}
	return true
}
