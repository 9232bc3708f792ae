// Package podresize refuses to let a running pod ask for more than its node has.
package podresize

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"clipper/api"
	"clipper/apiserver/admission"
)

// Causes of a refusal, of which clients may make something.
const (
	NodeCapacity        metav1.CauseType = "NodeCapacity"
	UnsupportedPlatform metav1.CauseType = "UnsupportedPlatform"
)

// A Plugin is the admission plug-in PodResizeValidator.
type Plugin struct {
	nodes api.TypedView[*corev1.Node]
}

// New returns the plug-in over the nodes that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.Nodes.View(c)} }

// Validate looks at resizes of pods that have a node.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Update || !a.IsSub("", "pods", "resize") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if pod.Spec.NodeName == "" || pod.Generation == a.Old.GetGeneration() {
		return nil
	}
	node, ok := p.nodes.Get("", pod.Spec.NodeName)
	if !ok {
		return a.Forbiddenf("node %q not found", pod.Spec.NodeName)
	}
	if os, ok := node.Labels[corev1.LabelOSStable]; ok && os != string(corev1.Linux) {
		return refuse(a, UnsupportedPlatform, fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, os))
	}
	if err := fits(pod, node.Status.Allocatable); err != nil {
		return refuse(a, NodeCapacity, err)
	}
	return nil
}

func refuse(a *admission.Attributes, cause metav1.CauseType, err error) error {
	refusal := a.Forbidden(err)
	refusal.ErrStatus.Details.Causes = append(refusal.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	return refusal
}

func fits(pod *corev1.Pod, allocatable corev1.ResourceList) error {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	var short []string
	if cpu, has := requests[corev1.ResourceCPU], allocatable.Cpu(); cpu.Cmp(*has) > 0 {
		short = append(short, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), has.MilliValue()))
	}
	if memory, has := requests[corev1.ResourceMemory], allocatable.Memory(); memory.Cmp(*has) > 0 {
		short = append(short, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), has.Value()))
	}
	if len(short) > 0 {
		return fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(short, "; "))
	}
	return nil
}
