// Package runtimeclass applies a pod's runtime class: its overhead and where it can run.
package runtimeclass

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"clipper/api"
	"clipper/apiserver/admission"
)

// A Plugin is the admission plug-in RuntimeClass.
type Plugin struct {
	classes api.TypedView[*nodev1.RuntimeClass]
}

// New returns the plug-in over the runtime classes that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.RuntimeClasses.View(c)} }

// Admit completes pods that are created.
func (p *Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	class, err := p.class(a)
	if err != nil || class == nil {
		return err
	}
	pod := a.Object.(*corev1.Pod)
	if o := class.Overhead; o != nil {
		if len(pod.Spec.Overhead) > 0 && !equality.Semantic.DeepEqual(o.PodFixed, pod.Spec.Overhead) {
			return mismatch(a)
		}
		pod.Spec.Overhead = o.PodFixed.DeepCopy()
	}
	return setScheduling(a, pod, class)
}

// Validate refuses an overhead that is not the class's: a webhook may have changed it.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	class, err := p.class(a)
	if err != nil || !mine(a) {
		return err
	}
	pod := a.Object.(*corev1.Pod)
	if class != nil && class.Overhead != nil {
		if !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
			return mismatch(a)
		}
		return nil
	}
	if pod.Spec.Overhead != nil {
		return a.Forbiddenf("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	}
	return nil
}

func mine(a *admission.Attributes) bool { return a.Operation == admission.Create && a.Is("", "pods") }

// class is that of the pod under admission, nil if it has none.
func (p *Plugin) class(a *admission.Attributes) (*nodev1.RuntimeClass, error) {
	if !mine(a) {
		return nil, nil
	}
	name := a.Object.(*corev1.Pod).Spec.RuntimeClassName
	if name == nil {
		return nil, nil
	}
	class, ok := p.classes.Get("", *name)
	if !ok {
		return nil, a.Forbiddenf("pod rejected: RuntimeClass %q not found", *name)
	}
	return class, nil
}

func mismatch(a *admission.Attributes) error {
	return a.Forbiddenf("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

func setScheduling(a *admission.Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class.Scheduling == nil {
		return nil
	}
	selector := maps.Clone(class.Scheduling.NodeSelector)
	for k, v := range pod.Spec.NodeSelector {
		if have, ok := selector[k]; ok && have != v {
			return a.Forbiddenf("conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", k, have, k, v)
		}
		if selector == nil {
			selector = map[string]string{}
		}
		selector[k] = v
	}
	pod.Spec.NodeSelector = selector
	for _, t := range class.Scheduling.Tolerations {
		same := func(have corev1.Toleration) bool { return have.MatchToleration(&t) }
		if !slices.ContainsFunc(pod.Spec.Tolerations, same) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
		}
	}
	return nil
}
