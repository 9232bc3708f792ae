package status

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func setCondition(s *corev1.NodeStatus, c corev1.NodeCondition, now time.Time) {
	t := metav1.NewTime(now).Rfc3339Copy()
	c.LastHeartbeatTime, c.LastTransitionTime = t, t
	for i := range s.Conditions {
		if old := &s.Conditions[i]; old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			*old = c
			return
		}
	}
	s.Conditions = append(s.Conditions, c)
}

// sameApartFromHeartbeat reports whether b says nothing that a does not, times of heartbeat aside.
func sameApartFromHeartbeat(a, b *corev1.NodeStatus) bool {
	x, y := *a, *b
	strip := func(in []corev1.NodeCondition) []corev1.NodeCondition {
		out := slices.Clone(in)
		for i := range out {
			out[i].LastHeartbeatTime = metav1.Time{}
		}
		return out
	}
	x.Conditions, y.Conditions = strip(a.Conditions), strip(b.Conditions)
	return apiequality.Semantic.DeepEqual(x, y)
}

// transitions names the conditions that differ between two states, as the events that tell of them.
func transitions(old, next *corev1.NodeStatus) []string {
	names := map[corev1.NodeConditionType][2]string{
		corev1.NodeMemoryPressure: {"NodeHasInsufficientMemory", "NodeHasSufficientMemory"},
		corev1.NodeDiskPressure:   {"NodeHasDiskPressure", "NodeHasNoDiskPressure"},
		corev1.NodePIDPressure:    {"NodeHasInsufficientPID", "NodeHasSufficientPID"},
		corev1.NodeReady:          {"NodeReady", "NodeNotReady"},
	}
	var out []string
	for _, c := range next.Conditions {
		i := slices.IndexFunc(old.Conditions, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
		n, known := names[c.Type]
		if !known || (i >= 0 && old.Conditions[i].Status == c.Status) {
			continue
		}
		if i < 0 && c.Type == corev1.NodeReady {
			continue // of pressure a node tells from the start, of readiness when it changes
		}
		if c.Status == corev1.ConditionTrue {
			out = append(out, n[0])
		} else {
			out = append(out, n[1])
		}
	}
	return out
}

func wasReady(s *corev1.NodeStatus) bool {
	return slices.ContainsFunc(s.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// rebooted reports whether the machine has been started anew between two states.
func rebooted(old, next *corev1.NodeStatus) bool {
	return old.NodeInfo.BootID != "" && old.NodeInfo.BootID != next.NodeInfo.BootID
}

// owned are the labels that a node keeps true of itself; others count only when it first registers.
var owned = []string{
	corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
	corev1.LabelInstanceTypeStable, corev1.LabelInstanceType,
	corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// reconcile brings what an existing Node says apart from its status up to date, and reports whether it had to.
func (f *Facts) reconcile(n *corev1.Node) (changed bool) {
	set := func(in *map[string]string, key, value string) {
		if (*in)[key] == value {
			return
		}
		if *in == nil {
			*in = map[string]string{}
		}
		(*in)[key], changed = value, true
	}
	labels := f.labels()
	for _, key := range owned {
		if value := labels[key]; value != "" {
			set(&n.Labels, key, value)
		}
	}
	for key, value := range f.annotations() {
		set(&n.Annotations, key, value)
	}
	if _, there := n.Annotations[attachAnnotation]; there && f.AttachesVolumes {
		delete(n.Annotations, attachAnnotation)
		changed = true
	}
	return changed
}
