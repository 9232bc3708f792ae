// Package declaredfeatures refuses changes to a running pod that its node has not declared it can follow.
// Which change takes which feature is upstream's published list.
package declaredfeatures

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	features "k8s.io/component-helpers/nodedeclaredfeatures"

	"clipper/api"
	"clipper/apiserver/admission"
)

// current is the version whose nodes have a feature without saying so, once it is old enough.
var current = version.MajorMinor(1, 36)

// A Plugin is the admission plug-in NodeDeclaredFeatureValidator.
type Plugin struct {
	nodes api.TypedView[*corev1.Node]
}

// New returns the plug-in over the nodes that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.Nodes.View(c)} }

// Validate looks at updates of pods that have a node.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Update || !a.Is("", "pods") && !a.IsSub("", "pods", "resize") {
		return nil
	}
	pod, old := a.Object.(*corev1.Pod), a.Old.(*corev1.Pod)
	if pod.Spec.NodeName == "" || pod.Generation == old.Generation {
		return nil
	}
	needed, err := features.DefaultFramework.InferForPodUpdate(&features.PodInfo{Spec: &old.Spec, Status: &old.Status}, &features.PodInfo{Spec: &pod.Spec, Status: &pod.Status}, current)
	if err != nil {
		return a.Forbiddenf("failed to infer pod capability requirements: %w", err)
	}
	if needed.IsEmpty() {
		return nil
	}
	node, ok := p.nodes.Get("", pod.Spec.NodeName)
	if !ok {
		return a.Forbiddenf("node %q not found", pod.Spec.NodeName)
	}
	match, err := features.DefaultFramework.MatchNode(needed, node)
	if err != nil {
		return a.Forbiddenf("failed to match pod requirements against node %q: %w", node.Name, err)
	}
	if !match.IsMatch {
		return a.Forbiddenf("pod update requires features %s which are not available on node %q", strings.Join(match.UnsatisfiedRequirements, ", "), node.Name)
	}
	return nil
}
