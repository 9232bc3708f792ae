package disruption

import (
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/component-helpers/apps/poddisruptionbudget"

	"clipper/controllers/pods"
)

// deletionTimeout is how long an evicted pod may take to be deleted before it counts again. Upstream's figure.
const deletionTimeout = 2 * time.Minute

// A scale is a controller of pods and how many it wants.
type scale struct {
	uid      types.UID
	replicas int32
}

// A world is what plan decides from. All of it is read-only.
type world struct {
	budget *policyv1.PodDisruptionBudget
	pods   []*corev1.Pod // that the budget selects
	// controller finds what a pod belongs to, at the top: a Deployment, not its ReplicaSet.
	controller func(*corev1.Pod) (scale, bool)
	now        time.Time
}

// A Plan is the new status and what goes with it.
type Plan struct {
	Status    policyv1.PodDisruptionBudgetStatus
	Events    []event
	Again     time.Duration // when an evicted pod that is not deleted counts again; 0: none is
	unmanaged bool
}

type event struct{ kind, reason, message string }

func plan(w world) Plan {
	p := Plan{}
	evicted := p.evicted(w)
	healthy := int32(0)
	for _, pod := range w.pods {
		if _, gone := evicted[pod.Name]; !gone && pod.DeletionTimestamp == nil && pods.Ready(pod) {
			healthy++
		}
	}
	b := w.budget.DeepCopy()
	b.Status.DisruptedPods = evicted
	b.Status.ObservedGeneration = b.Generation
	expected, desired, err := p.figures(w)
	if err != nil {
		p.fail(b, err)
		return p
	}
	allowed := max(0, healthy-desired)
	if expected <= 0 {
		allowed = 0
	}
	b.Status.CurrentHealthy, b.Status.DesiredHealthy, b.Status.ExpectedPods, b.Status.DisruptionsAllowed = healthy, desired, expected, allowed
	poddisruptionbudget.UpdateDisruptionAllowedCondition(b)
	p.Status = b.Status
	return p
}

// fail allows no disruption while the figures are unknown.
func (p *Plan) fail(b *policyv1.PodDisruptionBudget, err error) {
	b.Status.DisruptionsAllowed = 0
	c := metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: err.Error(), ObservedGeneration: b.Status.ObservedGeneration, LastTransitionTime: metav1.Now(),
	}
	for i, have := range b.Status.Conditions {
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		b.Status.Conditions[i] = c
		p.Status = b.Status
		return
	}
	b.Status.Conditions = append(b.Status.Conditions, c)
	p.Status = b.Status
}

// evicted returns the pods that have been evicted and are not deleted yet.
func (p *Plan) evicted(w world) map[string]metav1.Time {
	out := maps.Clone(w.budget.Status.DisruptedPods)
	alive := map[string]*corev1.Pod{}
	for _, pod := range w.pods {
		alive[pod.Name] = pod
	}
	for name, at := range out {
		pod := alive[name]
		switch left := at.Add(deletionTimeout).Sub(w.now); {
		case pod == nil || pod.DeletionTimestamp != nil:
			delete(out, name)
		case left <= 0:
			p.Events = append(p.Events, event{corev1.EventTypeWarning, "NotDeleted",
				fmt.Sprintf("Pod was expected by PDB %s/%s to be deleted but it wasn't", w.budget.Namespace, w.budget.Name)})
			delete(out, name)
		case p.Again == 0 || left < p.Again:
			p.Again = left
		}
	}
	return out
}

// figures returns how many pods there should be and how many of them must stay healthy.
func (p *Plan) figures(w world) (expected, desired int32, err error) {
	spec := w.budget.Spec
	switch {
	case spec.MaxUnavailable != nil:
		expected = p.wanted(w)
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, int(expected), true)
		return expected, max(0, expected-int32(n)), err
	case spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.Int:
		return int32(len(w.pods)), spec.MinAvailable.IntVal, nil
	case spec.MinAvailable != nil:
		expected = p.wanted(w)
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, int(expected), true)
		return expected, int32(n), err
	}
	return 0, 0, nil
}

// wanted sums what the pods' controllers want. Pods without one make the figure meaningless, and are told.
func (p *Plan) wanted(w world) int32 {
	seen := map[types.UID]bool{}
	n := int32(0)
	for _, pod := range w.pods {
		s, ok := w.controller(pod)
		switch {
		case !ok:
			p.unmanaged = true
		case !seen[s.uid]:
			seen[s.uid] = true
			n += s.replicas
		}
	}
	if p.unmanaged {
		p.Events = append(p.Events, event{corev1.EventTypeWarning, "UnmanagedPods",
			fmt.Sprintf("Pods selected by this PodDisruptionBudget (selector: %v) were found to be unmanaged. As a result, the status of the PDB cannot be "+
				"calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.",
				metav1.FormatLabelSelector(w.budget.Spec.Selector))})
	}
	return n
}
