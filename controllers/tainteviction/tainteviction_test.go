package tainteviction

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
)

func TestJudge(t *testing.T) {
	taint := func(key string, e corev1.TaintEffect) corev1.Taint { return corev1.Taint{Key: key, Effect: e} }
	tolerate := func(key string, seconds int64) corev1.Toleration {
		tol := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
		if seconds >= 0 {
			tol.TolerationSeconds = &seconds
		}
		return tol
	}
	for _, tc := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		want        sentence
	}{
		{"no taint", nil, nil, sentence{}},
		{"NoSchedule does not drive out", []corev1.Taint{taint("a", corev1.TaintEffectNoSchedule)}, nil, sentence{}},
		{"not tolerated", []corev1.Taint{taint("a", corev1.TaintEffectNoExecute)}, nil, sentence{true, 0}},
		{"tolerated", []corev1.Taint{taint("a", corev1.TaintEffectNoExecute)}, []corev1.Toleration{tolerate("a", -1)}, sentence{}},
		{"for a while", []corev1.Taint{taint("a", corev1.TaintEffectNoExecute)}, []corev1.Toleration{tolerate("a", 300)}, sentence{true, 300 * time.Second}},
		{"the shortest counts", []corev1.Taint{taint("a", corev1.TaintEffectNoExecute), taint("b", corev1.TaintEffectNoExecute)},
			[]corev1.Toleration{tolerate("a", 300), tolerate("b", 20)}, sentence{true, 20 * time.Second}},
		{"one of two not tolerated", []corev1.Taint{taint("a", corev1.TaintEffectNoExecute), taint("b", corev1.TaintEffectNoExecute)},
			[]corev1.Toleration{tolerate("a", 300)}, sentence{true, 0}},
	} {
		if got := judge(tc.taints, tc.tolerations); got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func TestEviction(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	clock := time.Now()
	ctl.now = func() time.Time { return clock }
	taint := func(taints ...corev1.Taint) {
		t.Helper()
		if _, err := api.Nodes.Mutate(t.Context(), c, "", "n", "", func(n *corev1.Node) (bool, error) {
			n.Spec.Taints = taints
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.Nodes.Create(t.Context(), c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}); err != nil {
		t.Fatal(err)
	}
	minute := int64(60)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: controllertest.Template("").Spec}
	p.Spec.NodeName = "n"
	p.Spec.Tolerations = []corev1.Toleration{{Key: "bad", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &minute}}
	if _, err := api.Pods.Create(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
	sync := func() *corev1.Pod {
		t.Helper()
		if err := ctl.sync(t.Context(), owner.KeyOf(p)); err != nil {
			t.Fatal(err)
		}
		now, _ := api.Pods.View(c).Get("default", "p")
		return now
	}
	bad := corev1.Taint{Key: "bad", Effect: corev1.TaintEffectNoExecute}
	taint(bad)
	sync()
	clock = clock.Add(50 * time.Second)
	taint()
	if sync(); !events.Contains("Normal TaintManagerEviction Cancelling deletion of Pod default/p") {
		t.Errorf("events %v", events.Take())
	}
	taint(bad)
	sync()
	clock = clock.Add(50 * time.Second)
	if sync().DeletionTimestamp != nil {
		t.Error("the time did not begin anew")
	}
	before := testutil.ToFloat64(deletions)
	clock = clock.Add(11 * time.Second)
	got := sync()
	if n := testutil.ToFloat64(deletions) - before; n != 1 {
		t.Errorf("%v deletions counted", n)
	}
	if n := testutil.CollectAndCount(lateness); n != 1 {
		t.Errorf("%d series of how late they were", n)
	}
	if got.DeletionTimestamp == nil || pods.Condition(got, corev1.DisruptionTarget) == nil {
		t.Errorf("pod %+v", got)
	}
	if !events.Contains("Normal TaintManagerEviction Marking for deletion Pod default/p") {
		t.Errorf("events %v", events.Take())
	}
}
