// Package priority turns a pod's priority class into the number that the scheduler compares, and sees to
// it that at most one class is the default.
package priority

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

// A Plugin is the admission plug-in.
type Plugin struct {
	classes api.TypedView[*schedulingv1.PriorityClass]
}

// New returns the plug-in over the priority classes that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.PriorityClasses.View(c)} }

// Admit computes the priority of pods.
func (p *Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "pods") || (a.Operation != admission.Create && a.Operation != admission.Update) {
		return nil
	}
	pod := a.Object.(*corev1.Pod)
	if a.Operation == admission.Update {
		keep(pod, a.Old.(*corev1.Pod))
		return nil
	}
	value, policy := int32(0), corev1.PreemptLowerPriority
	class, err := p.classOf(a, pod)
	if err != nil {
		return err
	}
	if class != nil {
		pod.Spec.PriorityClassName, value = class.Name, class.Value
		if class.PreemptionPolicy != nil {
			policy = *class.PreemptionPolicy
		}
	}
	if given := pod.Spec.Priority; given != nil && *given != value {
		return a.Forbiddenf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *given, value)
	}
	if given := pod.Spec.PreemptionPolicy; given != nil && *given != policy {
		return a.Forbiddenf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *given, policy)
	}
	pod.Spec.Priority, pod.Spec.PreemptionPolicy = &value, &policy
	return nil
}

// keep carries over what an update leaves out, as an old client would.
func keep(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil && old.Spec.Priority != nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil && old.Spec.PreemptionPolicy != nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

// classOf returns the class that a pod names, or the default one, or nil.
func (p *Plugin) classOf(a *admission.Attributes, pod *corev1.Pod) (*schedulingv1.PriorityClass, error) {
	if name := pod.Spec.PriorityClassName; name != "" {
		class, ok := p.classes.Get("", name)
		if !ok {
			return nil, a.Forbiddenf("no PriorityClass with name %v was found", name)
		}
		return class, nil
	}
	var found *schedulingv1.PriorityClass
	for _, class := range p.classes.List("") {
		// There should be one; the lowest is the safe choice if two writers raced.
		if class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found, nil
}

// Validate refuses a second default class.
func (p *Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if !a.Is("scheduling.k8s.io", "priorityclasses") || (a.Operation != admission.Create && a.Operation != admission.Update) {
		return nil
	}
	class := a.Object.(*schedulingv1.PriorityClass)
	if !class.GlobalDefault {
		return nil
	}
	for _, other := range p.classes.List("") {
		if other.GlobalDefault && other.Name != class.Name {
			return a.Forbidden(fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
		}
	}
	return nil
}
