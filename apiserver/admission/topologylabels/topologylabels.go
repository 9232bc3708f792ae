// Package topologylabels gives a pod that gets a node the node's zone and region as labels, so that what
// runs in it can ask where it is.
package topologylabels

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

var copied = []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion}

// A Plugin is the admission plug-in PodTopologyLabels.
type Plugin struct {
	nodes api.TypedView[*corev1.Node]
}

// New returns the plug-in over the nodes that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.Nodes.View(c)} }

// Admit labels bindings, whose labels go on to their pod, and pods that are created on a node. A node that
// is not there has no labels.
func (p *Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create || a.Resource != api.Pods.Resource {
		return nil
	}
	switch o := a.Object.(type) {
	case *corev1.Pod:
		if a.Subresource == "" && o.Spec.NodeName != "" {
			p.label(o, o.Spec.NodeName)
		}
	case *corev1.Binding:
		if o.Target.Kind == "Node" {
			p.label(o, o.Target.Name)
		}
	}
	return nil
}

func (p *Plugin) label(o api.Object, nodeName string) {
	node, ok := p.nodes.Get("", nodeName)
	if !ok {
		return
	}
	labels := o.GetLabels()
	for _, key := range copied {
		if value, ok := node.Labels[key]; ok {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[key] = value
		}
	}
	o.SetLabels(labels)
}
