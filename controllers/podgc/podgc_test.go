package podgc

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
)

func TestSurplus(t *testing.T) {
	var all []*corev1.Pod
	for i := range 6 {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i), CreationTimestamp: metav1.NewTime(time.Unix(int64(i), 0))}}
		p.Status.Phase = corev1.PodSucceeded
		if i == 1 {
			p.Status.Phase = corev1.PodRunning
		}
		if i == 5 {
			p.Status.Reason = "Evicted"
		}
		all = append(all, p)
	}
	got := ""
	for _, p := range surplus(all, 2) {
		got += p.Name
	}
	if got != "502" || surplus(all, 5) != nil {
		t.Errorf("collected %q, want the evicted one, then the oldest finished", got)
	}
}

func TestPodsOfGoneNodes(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := New(c)
	for _, name := range []string{"here", "off"} {
		if _, err := api.Nodes.Create(t.Context(), c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"here", "off", "gone", ""} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "on-" + node + "x", Finalizers: []string{"example.com/hold"}}, Spec: controllertest.Template("").Spec}
		p.Spec.NodeName = node
		if _, err := api.Pods.Create(t.Context(), c, p); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := api.Nodes.Mutate(t.Context(), c, "", "off", "", func(n *corev1.Node) (bool, error) {
		n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Nodes.Mutate(t.Context(), c, "", "off", "status", func(n *corev1.Node) (bool, error) {
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionUnknown}}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"on-offx", "on-x"} {
		if err := api.Pods.Delete(t.Context(), c, "default", name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range []string{"here", "off", "gone", ""} {
		if err := ctl.sync(t.Context(), key{node: node}); err != nil {
			t.Fatal(err)
		}
		p, _ := api.Pods.View(c).Get("default", "on-"+node+"x")
		if failed := p.Status.Phase == corev1.PodFailed; failed != (node != "here") || failed != (p.DeletionTimestamp != nil) {
			t.Errorf("pod on %q: phase %s, deleted %v", node, p.Status.Phase, p.DeletionTimestamp)
		}
		if node == "gone" && (len(p.Status.Conditions) == 0 || p.Status.Conditions[len(p.Status.Conditions)-1].Reason != "DeletionByPodGC") {
			t.Errorf("conditions %+v", p.Status.Conditions)
		}
	}
	for reason, want := range map[string]float64{orphaned: 1, outOfUse: 1, neverStarted: 1, terminated: 0} {
		if n := testutil.ToFloat64(collected.WithLabelValues("default", reason)); n != want {
			t.Errorf("%s: %v counted, want %v", reason, n, want)
		}
	}
	if n := testutil.CollectAndCount(failures); n != 0 {
		t.Errorf("%d failures", n)
	}
}
