package noderestriction

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"clipper/apiserver/admission"
)

// nodeObject lets a node write its own Node, but neither its taints nor labels that steer where pods of
// others go.
func (r *request) nodeObject() error {
	if r.name() != r.node {
		return r.Forbiddenf("node %q is not allowed to modify node %q", r.node, r.name())
	}
	switch r.Operation {
	case admission.Create:
		return r.createNode(r.Object.(*corev1.Node))
	case admission.Update:
		return r.updateNode(r.Object.(*corev1.Node), r.Old.(*corev1.Node))
	}
	return nil
}

func (r *request) createNode(node *corev1.Node) error {
	// A node may read what its spec names: naming things itself would be a way to see more.
	if node.Spec.ConfigSource != nil {
		return r.Forbiddenf("node %q is not allowed to create pods with a non-nil configSource", r.node)
	}
	if bad := forbidden(changedLabels(node.Labels, nil)); len(bad) > 0 {
		return r.Forbiddenf("node %q is not allowed to set the following labels: %s", r.node, strings.Join(bad, ", "))
	}
	return nil
}

func (r *request) updateNode(node, old *corev1.Node) error {
	if node.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(node.Spec.ConfigSource, old.Spec.ConfigSource) {
		return r.Forbiddenf("node %q is not allowed to update configSource to a new non-nil configSource", r.node)
	}
	if !equality.Semantic.DeepEqual(node.Spec.Taints, old.Spec.Taints) {
		return r.Forbiddenf("node %q is not allowed to modify taints", r.node)
	}
	if !equality.Semantic.DeepEqual(node.OwnerReferences, old.OwnerReferences) {
		return r.Forbiddenf("node %q is not allowed to modify ownerReferences", r.node)
	}
	if bad := forbidden(changedLabels(node.Labels, old.Labels)); len(bad) > 0 {
		return r.Forbiddenf("is not allowed to modify labels: %s", strings.Join(bad, ", "))
	}
	return nil
}

func changedLabels(next, old map[string]string) (keys []string) {
	for k, v := range next {
		if have, ok := old[k]; !ok || have != v {
			keys = append(keys, k)
		}
	}
	for k := range old {
		if _, ok := next[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// nodesOwn are the labels of Kubernetes' own domains that kubelets set.
var nodesOwn = map[string]bool{
	corev1.LabelHostname:                true,
	corev1.LabelArchStable:              true,
	corev1.LabelOSStable:                true,
	corev1.LabelInstanceType:            true,
	corev1.LabelInstanceTypeStable:      true,
	corev1.LabelTopologyZone:            true,
	corev1.LabelTopologyRegion:          true,
	corev1.LabelFailureDomainBetaZone:   true,
	corev1.LabelFailureDomainBetaRegion: true,
	corev1.LabelWindowsBuild:            true,
	"beta.kubernetes.io/os":             true,
	"beta.kubernetes.io/arch":           true,
}

// forbidden returns those of the labels that a node may not touch: the ones kept from nodes on purpose,
// and those of kubernetes.io and k8s.io that are not kubelets'.
func forbidden(labels []string) (bad []string) {
	for _, label := range labels {
		domain, _, prefixed := strings.Cut(label, "/")
		if !prefixed {
			continue
		}
		switch {
		case within(domain, "node-restriction.kubernetes.io"):
			bad = append(bad, label)
		case !within(domain, "kubernetes.io") && !within(domain, "k8s.io"):
		case nodesOwn[label] || within(domain, "kubelet.kubernetes.io") || within(domain, "node.kubernetes.io"):
		default:
			bad = append(bad, label)
		}
	}
	return bad
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}
