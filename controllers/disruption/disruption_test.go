package disruption

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func some(ready, notReady int) []*corev1.Pod {
	var out []*corev1.Pod
	for i := range ready + notReady {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i)}}
		if i < ready {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		}
		out = append(out, p)
	}
	return out
}

func TestFigures(t *testing.T) {
	for _, tc := range []struct {
		min, max        string
		ready, notReady int
		wants           int32
		desired, allow  int32
	}{
		{min: "2", ready: 3, wants: 3, desired: 2, allow: 1},
		{min: "2", ready: 1, notReady: 2, wants: 3, desired: 2, allow: 0},
		{min: "50%", ready: 3, wants: 3, desired: 2, allow: 1},
		{max: "1", ready: 3, wants: 3, desired: 2, allow: 1},
		{max: "1", ready: 2, notReady: 1, wants: 3, desired: 2, allow: 0},
		{max: "25%", ready: 4, wants: 4, desired: 3, allow: 1},
		{max: "1", ready: 3, wants: 5, desired: 4, allow: 0},
		{max: "10", ready: 3, wants: 3, desired: 0, allow: 3},
		{min: "0", wants: 0, desired: 0, allow: 0},
	} {
		b := &policyv1.PodDisruptionBudget{}
		if tc.min != "" {
			v := intstr.Parse(tc.min)
			b.Spec.MinAvailable = &v
		} else {
			v := intstr.Parse(tc.max)
			b.Spec.MaxUnavailable = &v
		}
		st := plan(world{budget: b, pods: some(tc.ready, tc.notReady), now: now,
			controller: func(*corev1.Pod) (scale, bool) { return scale{"c", tc.wants}, true }}).Status
		if st.DesiredHealthy != tc.desired || st.DisruptionsAllowed != tc.allow || st.CurrentHealthy != int32(tc.ready) {
			t.Errorf("min %q max %q, %d ready of %d: %+v", tc.min, tc.max, tc.ready, tc.wants, st)
		}
		want := policyv1.SufficientPodsReason
		if tc.allow == 0 {
			want = policyv1.InsufficientPodsReason
		}
		if st.Conditions[0].Reason != want {
			t.Errorf("condition %+v", st.Conditions)
		}
	}
}

func TestEvictedPodsCountAgainIfTheyStay(t *testing.T) {
	one := intstr.FromInt32(1)
	b := &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one}}
	b.Status.DisruptedPods = map[string]metav1.Time{"p0": metav1.NewTime(now), "gone": metav1.NewTime(now)}
	w := world{budget: b, pods: some(2, 0), now: now.Add(time.Minute)}
	p := plan(w)
	if p.Status.CurrentHealthy != 1 || p.Status.DisruptionsAllowed != 0 || p.Again != time.Minute || len(p.Status.DisruptedPods) != 1 {
		t.Errorf("after a minute: %+v, again in %s", p.Status, p.Again)
	}
	w.now = now.Add(3 * time.Minute)
	if p = plan(w); p.Status.CurrentHealthy != 2 || p.Status.DisruptionsAllowed != 1 || len(p.Events) != 1 || p.Events[0].reason != "NotDeleted" {
		t.Errorf("after three: %+v %v", p.Status, p.Events)
	}
}

func TestAgainstTheAPI(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	one := intstr.FromInt32(1)
	b, err := api.PodDisruptionBudgets.Create(t.Context(), c, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: controllertest.Selector("web"), MinAvailable: &one},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}}, Spec: controllertest.Template("").Spec}
		if _, err := api.Pods.Create(t.Context(), c, p); err != nil {
			t.Fatal(err)
		}
	}
	controllertest.RunAll(t, c, "default")
	if err := ctl.sync(t.Context(), owner.KeyOf(b)); err != nil {
		t.Fatal(err)
	}
	b, _ = api.PodDisruptionBudgets.View(c).Get("default", "b")
	if st := b.Status; st.DisruptionsAllowed != 1 || st.ExpectedPods != 2 || st.CurrentHealthy != 2 || st.DesiredHealthy != 1 {
		t.Errorf("status %+v", st)
	}
}
