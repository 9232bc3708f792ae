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
	if a.Operation != admission.Create || !a.Is("", "pods") {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	var class *nodev1.RuntimeClass
	if pod.Spec.RuntimeClassName != nil {
		var ok bool
		if class, ok = p.classes.Get("", *pod.Spec.RuntimeClassName); !ok {
			return a.Forbiddenf("pod rejected: RuntimeClass %q not found", *pod.Spec.RuntimeClassName)
		}
	}
	if err := setOverhead(a, pod, class); err != nil {
		return err
	}
	return setScheduling(a, pod, class)
}

func setOverhead(a *admission.Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class == nil || class.Overhead == nil {
		if len(pod.Spec.Overhead) > 0 {
			return a.Forbiddenf("pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
		}
		return nil
	}
	if pod.Spec.Overhead != nil && !equality.Semantic.DeepEqual(class.Overhead.PodFixed, pod.Spec.Overhead) {
		return a.Forbiddenf("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
	}
	pod.Spec.Overhead = class.Overhead.PodFixed.DeepCopy()
	return nil
}

func setScheduling(a *admission.Attributes, pod *corev1.Pod, class *nodev1.RuntimeClass) error {
	if class == nil || class.Scheduling == nil {
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
