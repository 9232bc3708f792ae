package nodelifecycle

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func nodeWith(unschedulable bool, taints []corev1.Taint, conditions ...corev1.NodeCondition) *corev1.Node {
	return &corev1.Node{Spec: corev1.NodeSpec{Unschedulable: unschedulable, Taints: taints}, Status: corev1.NodeStatus{Conditions: conditions}}
}

func is(kind corev1.NodeConditionType, status corev1.ConditionStatus) corev1.NodeCondition {
	return corev1.NodeCondition{Type: kind, Status: status}
}

func TestTaints(t *testing.T) {
	added := metav1.NewTime(start.Add(-time.Hour))
	own := corev1.Taint{Key: "team", Value: "a", Effect: corev1.TaintEffectNoSchedule}
	notReady := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}
	for _, tt := range []struct {
		name    string
		node    *corev1.Node
		want    []string
		changed bool
	}{
		{"ready and bare", nodeWith(false, nil, is(corev1.NodeReady, corev1.ConditionTrue)), nil, false},
		{"not ready", nodeWith(false, []corev1.Taint{own}, is(corev1.NodeReady, corev1.ConditionFalse)),
			[]string{"team:NoSchedule", "node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}, true},
		{"lost", nodeWith(false, []corev1.Taint{notReady}, is(corev1.NodeReady, corev1.ConditionUnknown)),
			[]string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}, true},
		{"ready again", nodeWith(false, []corev1.Taint{own, notReady}, is(corev1.NodeReady, corev1.ConditionTrue)), []string{"team:NoSchedule"}, true},
		{"pressure and cordon", nodeWith(true, nil, is(corev1.NodeReady, corev1.ConditionTrue), is(corev1.NodeMemoryPressure, corev1.ConditionTrue)),
			[]string{"node.kubernetes.io/memory-pressure:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"}, true},
	} {
		got, changed := taints(tt.node, start)
		var names []string
		for _, x := range got {
			names = append(names, x.Key+":"+string(x.Effect))
		}
		if changed != tt.changed || len(names) != len(tt.want) {
			t.Errorf("%s: got %v, changed %v; want %v, %v", tt.name, names, changed, tt.want, tt.changed)
			continue
		}
		for i := range names {
			if names[i] != tt.want[i] {
				t.Errorf("%s: got %v, want %v", tt.name, names, tt.want)
			}
		}
		again, changed := taints(nodeWith(tt.node.Spec.Unschedulable, got, tt.node.Status.Conditions...), start.Add(time.Minute))
		if changed || len(again) != len(got) {
			t.Errorf("%s: not stable: %v", tt.name, again)
		}
	}
}

func TestSilent(t *testing.T) {
	node := nodeWith(false, nil, is(corev1.NodeReady, corev1.ConditionTrue))
	got, changed := silent(node, start)
	if !changed || len(got) != 4 {
		t.Fatalf("conditions %v, changed %v", got, changed)
	}
	for _, c := range got {
		if c.Status != corev1.ConditionUnknown {
			t.Errorf("%s is %s", c.Type, c.Status)
		}
	}
	if got[0].Reason != "NodeStatusUnknown" || got[1].Reason != "NodeStatusNeverUpdated" {
		t.Errorf("reasons %s, %s", got[0].Reason, got[1].Reason)
	}
	if node.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Error("the shared object was changed")
	}
	if _, changed := silent(nodeWith(false, nil, got...), start.Add(time.Hour)); changed {
		t.Error("marked twice")
	}
}

func TestEvictAt(t *testing.T) {
	added := metav1.NewTime(start)
	lost := []corev1.Taint{{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute, TimeAdded: &added}}
	seconds := func(n int64) *int64 { return &n }
	tolerate := func(s *int64) corev1.Toleration {
		return corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: s}
	}
	for _, tt := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		created     time.Time
		at          time.Time
		ok          bool
	}{
		{"no taint", nil, nil, start, time.Time{}, false},
		{"NoSchedule only", []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}, nil, start, time.Time{}, false},
		{"no toleration", lost, nil, start, time.Time{}, true},
		{"for five minutes", lost, []corev1.Toleration{tolerate(seconds(300))}, start.Add(-time.Hour), start.Add(5 * time.Minute), true},
		{"bound later than the taint", lost, []corev1.Toleration{tolerate(seconds(10))}, start.Add(time.Minute), start.Add(70 * time.Second), true},
		{"for ever", lost, []corev1.Toleration{tolerate(nil)}, start, time.Time{}, false},
		{"the shorter of two", lost, []corev1.Toleration{tolerate(seconds(300)), tolerate(seconds(20))}, start.Add(-time.Hour), start.Add(20 * time.Second), true},
		{"negative is at once", lost, []corev1.Toleration{tolerate(seconds(-5))}, start.Add(-time.Hour), start, true},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(tt.created)}, Spec: corev1.PodSpec{Tolerations: tt.tolerations}}
		if at, ok := evictAt(pod, tt.taints); ok != tt.ok || !at.Equal(tt.at) {
			t.Errorf("%s: %v, %v; want %v, %v", tt.name, at, ok, tt.at, tt.ok)
		}
	}
}
