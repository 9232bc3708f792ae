package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"clipper/api/containers"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

func prepareCreate(p *corev1.Pod) {
	class := p.Status.QOSClass
	if class == "" {
		class = QOS(p)
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: class}
	podspec.DropDisabled(&p.Spec, nil)
	podspec.SyncAppArmor(&p.ObjectMeta, &p.Spec)
	if len(p.Spec.SchedulingGates) > 0 {
		p.Status.Conditions = []corev1.PodCondition{{
			Type:    corev1.PodScheduled,
			Status:  corev1.ConditionFalse,
			Reason:  corev1.PodReasonSchedulingGated,
			Message: "Scheduling is blocked due to non-empty scheduling gates",

			LastTransitionTime: rule.Now(),
		}}
	}
	mergeLabelKeys(p)
}

func prepareUpdate(p, old *corev1.Pod) { podspec.DropDisabled(&p.Spec, &old.Spec) }

// prepareStatus also keeps what node agents of other versions do not send back.
func prepareStatus(p, old *corev1.Pod) {
	dropDisabledStatus(&p.Status, &old.Status)
	p.DeletionTimestamp = old.DeletionTimestamp
	p.OwnerReferences = old.OwnerReferences
	if p.Status.QOSClass == "" {
		p.Status.QOSClass = old.Status.QOSClass
	}
	if p.Status.ObservedGeneration == 0 {
		p.Status.ObservedGeneration = old.Status.ObservedGeneration
	}
	known := map[corev1.PodConditionType][]int64{} // a type may occur more than once
	for _, c := range old.Status.Conditions {
		known[c.Type] = append(known[c.Type], c.ObservedGeneration)
	}
	for i := range p.Status.Conditions {
		c := &p.Status.Conditions[i]
		if generations := known[c.Type]; len(generations) > 0 {
			if c.ObservedGeneration == 0 {
				c.ObservedGeneration = generations[0]
			}
			known[c.Type] = generations[1:]
		}
	}
}

// dropDisabledStatus clears what features report that a v1.36 server has switched off by default.
func dropDisabledStatus(s, old *corev1.PodStatus) {
	if len(old.NodeAllocatableResourceClaimStatuses) == 0 {
		s.NodeAllocatableResourceClaimStatuses = nil
	}
	used := false
	eachMountStatus(old, func(m *corev1.VolumeMountStatus) { used = used || m.VolumeStatus != nil })
	if used {
		return
	}
	eachMountStatus(s, func(m *corev1.VolumeMountStatus) { m.VolumeStatus = nil })
}

func eachMountStatus(s *corev1.PodStatus, visit func(*corev1.VolumeMountStatus)) {
	for cs := range containers.Statuses(s) {
		for j := range cs.VolumeMounts {
			visit(&cs.VolumeMounts[j])
		}
	}
}

// gracePeriod is what was asked for, else what the spec says; pods that never ran or are done go at once.
func gracePeriod(p *corev1.Pod, asked *int64) int64 {
	if asked == nil {
		asked = p.Spec.TerminationGracePeriodSeconds
	}
	switch {
	case asked == nil, p.Spec.NodeName == "", p.Status.Phase == corev1.PodFailed, p.Status.Phase == corev1.PodSucceeded:
		return 0
	case *asked < 0:
		return 1
	}
	return *asked
}

// mergeLabelKeys writes the values of the labels that affinity terms and spread constraints name by key
// into their selectors, once and for all: the pod's labels may change later.
func mergeLabelKeys(p *corev1.Pod) {
	merge := func(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator) {
		for _, key := range keys {
			if value, ok := p.Labels[key]; ok && s != nil { // a missing selector selects nothing
				s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
			}
		}
	}
	term := func(t *corev1.PodAffinityTerm) {
		merge(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn)
		merge(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn)
	}
	podspec.EachAffinityTerm(p.Spec.Affinity, term)
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		merge(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn)
	}
}

// prepareEphemeral keeps of an update of pods/ephemeralcontainers just these.
func prepareEphemeral(p, old *corev1.Pod) {
	containers := p.Spec.EphemeralContainers
	restore(p, old)
	p.Spec.EphemeralContainers = containers
	podspec.DropDisabled(&p.Spec, &old.Spec)
	raiseGeneration(p, old)
}

// prepareResize keeps of an update of pods/resize the resources and resize policies. Containers that were
// added, removed, renamed or reordered are left for validation to refuse.
func prepareResize(p, old *corev1.Pod) {
	asked := p.Spec
	if len(asked.Containers) != len(old.Spec.Containers) || len(asked.InitContainers) != len(old.Spec.InitContainers) {
		podspec.DropDisabled(&p.Spec, &old.Spec)
		raiseGeneration(p, old)
		return
	}
	restore(p, old)
	p.Spec.Resources = asked.Resources
	p.Spec.Containers = resized(asked.Containers, old.Spec.Containers)
	p.Spec.InitContainers = resized(asked.InitContainers, old.Spec.InitContainers)
	podspec.DropDisabled(&p.Spec, &old.Spec)
	raiseGeneration(p, old)
}

func resized(asked, old []corev1.Container) []corev1.Container {
	out := slices.Clone(old)
	for i := range out {
		if out[i].Name != asked[i].Name {
			return asked
		}
		out[i].Resources, out[i].ResizePolicy = asked[i].Resources, asked[i].ResizePolicy
	}
	return out
}

// restore brings p back to old but for what every subresource may change of the metadata.
func restore(p, old *corev1.Pod) {
	p.Spec, p.Status = old.Spec, old.Status
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
}

func raiseGeneration(p, old *corev1.Pod) {
	p.Generation = old.Generation
	if !equality.Semantic.DeepEqual(p.Spec, old.Spec) {
		p.Generation++
	}
}

// warnings are for creators only: whoever updates a pod did not write it.
func warnings(p, old *corev1.Pod) []string {
	if old != nil {
		return nil
	}
	var out []string
	if faults := validation.IsDNS1123Label(p.Name); len(faults) > 0 {
		out = append(out, fmt.Sprintf("metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", faults))
	}
	return append(out, podspec.Warnings(&p.ObjectMeta, &p.Spec, nil)...)
}
