package quota

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	resourcehelper "k8s.io/component-helpers/resource"

	"clipper/api"
)

// active says whether a pod still takes anything.
func active(p *corev1.Pod) bool {
	return p.Status.Phase != corev1.PodFailed && p.Status.Phase != corev1.PodSucceeded
}

// podUsage counts every pod object, and the resources of pods that are not over.
func podUsage(p *corev1.Pod) corev1.ResourceList {
	out := corev1.ResourceList{CountName(api.Pods.Resource): one}
	if !active(p) {
		return out
	}
	out[corev1.ResourcePods] = one
	opts := resourcehelper.PodResourcesOptions{UseStatusResources: true} // what a resize has not given back yet counts
	for k, v := range resourcehelper.PodRequests(p, opts) {
		out["requests."+k] = v
		if k == corev1.ResourceCPU || k == corev1.ResourceMemory || k == corev1.ResourceEphemeralStorage || strings.HasPrefix(string(k), corev1.ResourceHugePagesPrefix) {
			out[k] = v // the older name of the same thing
		}
	}
	for k, v := range resourcehelper.PodLimits(p, opts) {
		out["limits."+k] = v
	}
	return out
}

// podInScope says whether a pod is what one scope of a quota chooses.
func podInScope(p *corev1.Pod, s corev1.ScopedResourceSelectorRequirement) bool {
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
	case corev1.ResourceQuotaScopeNotTerminating:
		return p.Spec.ActiveDeadlineSeconds == nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(p)
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p)
	case corev1.ResourceQuotaScopePriorityClass:
		var names []string
		if p.Spec.PriorityClassName != "" {
			names = append(names, p.Spec.PriorityClassName)
		}
		return namesMatch(names, s)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p.Spec.Affinity)
	}
	return false
}

func bestEffort(p *corev1.Pod) bool {
	if resourcehelper.IsPodLevelResourcesSet(p) {
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			r := &list[i].Resources
			for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
				request, limit := r.Requests[name], r.Limits[name]
				if request.Sign() > 0 || limit.Sign() > 0 {
					return false
				}
			}
		}
	}
	return true
}

func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	term := func(t *corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil }
	terms := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) bool {
		return slices.ContainsFunc(required, func(t corev1.PodAffinityTerm) bool { return term(&t) }) ||
			slices.ContainsFunc(preferred, func(t corev1.WeightedPodAffinityTerm) bool { return term(&t.PodAffinityTerm) })
	}
	return a.PodAffinity != nil && terms(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution) ||
		a.PodAntiAffinity != nil && terms(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
}

// explicit are the names that every container must give a figure for, once a quota limits them.
var explicit = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
	corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

// Unspecified returns, in upstream's words, which of the limited resources a pod's containers leave open;
// nil if none. A pod that says what it takes as a whole leaves nothing open.
func Unspecified(q *corev1.ResourceQuota, p *corev1.Pod) error {
	if resourcehelper.IsPodLevelResourcesSet(p) {
		return nil
	}
	missing := map[corev1.ResourceName]sets.Set[string]{}
	for _, name := range explicit {
		if _, limited := q.Spec.Hard[name]; !limited {
			continue
		}
		for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
			for i := range list {
				if !specifies(&list[i].Resources, name) {
					if missing[name] == nil {
						missing[name] = sets.New[string]()
					}
					missing[name].Insert(list[i].Name)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for name, containers := range missing {
		parts = append(parts, fmt.Sprintf("%s for: %s", name, strings.Join(sets.List(containers), ",")))
	}
	slices.Sort(parts)
	return fmt.Errorf("must specify %s", strings.Join(parts, "; "))
}

func specifies(r *corev1.ResourceRequirements, name corev1.ResourceName) bool {
	list, base := r.Requests, strings.TrimPrefix(string(name), "requests.")
	if limit, ok := strings.CutPrefix(string(name), "limits."); ok {
		list, base = r.Limits, limit
	}
	_, ok := list[corev1.ResourceName(base)]
	return ok
}
