package daemonset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

func TestSuits(t *testing.T) {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "ds"}, Spec: appsv1.DaemonSetSpec{Template: controllertest.Template("ds")}}
	for _, tc := range []struct {
		name        string
		taint       corev1.Taint
		selector    map[string]string
		start, stay bool
	}{
		{name: "plain", start: true, stay: true},
		{name: "unschedulable is tolerated", taint: corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, start: true, stay: true},
		{name: "unreachable is tolerated", taint: corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}, start: true, stay: true},
		{name: "a NoSchedule taint keeps out but does not drive out", taint: corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoSchedule}, stay: true},
		{name: "a NoExecute taint does", taint: corev1.Taint{Key: "x", Effect: corev1.TaintEffectNoExecute}},
		{name: "another label", selector: map[string]string{"disk": "ssd"}},
	} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		if tc.taint.Key != "" {
			node.Spec.Taints = []corev1.Taint{tc.taint}
		}
		ds.Spec.Template.Spec.NodeSelector = tc.selector
		if start, stay := suits(podFor(ds, "h", "n"), node); start != tc.start || stay != tc.stay {
			t.Errorf("%s: start %v, stay %v", tc.name, start, stay)
		}
	}
}

// A run drives one set on some nodes and plays scheduler and kubelet.
type run struct {
	t      *testing.T
	c      *inprocess.Client
	ctl    *Controller
	events controllertest.Events
	clock  time.Time
}

func start(t *testing.T, nodes int, strategy appsv1.DaemonSetUpdateStrategy) *run {
	r := &run{t: t, c: inprocesstest.New(t), clock: time.Now()}
	r.ctl = New(r.c, &r.events)
	r.ctl.now = func() time.Time { return r.clock }
	for i := range nodes {
		if _, err := api.Nodes.Create(t.Context(), r.c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ds"},
		Spec: appsv1.DaemonSetSpec{Selector: controllertest.Selector("ds"), Template: controllertest.Template("ds"), UpdateStrategy: strategy}}
	if _, err := api.DaemonSets.Create(t.Context(), r.c, ds); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) sync() *appsv1.DaemonSet {
	r.t.Helper()
	for range 3 {
		if err := r.ctl.sync(r.t.Context(), owner.Key{Namespace: "default", Name: "ds"}); err != nil {
			r.t.Fatal(err)
		}
	}
	ds, _ := api.DaemonSets.View(r.c).Get("default", "ds")
	return ds
}

// bind plays scheduler and kubelet: pending pods go to their node and run, deleted ones end.
func (r *run) bind() {
	r.t.Helper()
	for _, p := range r.pods() {
		switch {
		case p.DeletionTimestamp != nil:
			controllertest.Kill(r.t, r.c, p)
		case p.Spec.NodeName == "":
			b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: nodeOf(p)}}
			if _, err := r.c.CreateSubresource(r.t.Context(), api.Pods.Resource, p.Namespace, p.Name, "binding", b); err != nil {
				r.t.Fatal(err)
			}
			controllertest.SetPhase(r.t, r.c, p, corev1.PodRunning)
		}
	}
}

func (r *run) pods() []*corev1.Pod { return api.Pods.View(r.c).List("default") }

// where lists "node image" of the live pods.
func (r *run) where() string {
	var out []string
	for _, p := range r.pods() {
		if p.DeletionTimestamp == nil {
			out = append(out, nodeOf(p)+" "+p.Spec.Containers[0].Image)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (r *run) setImage(image string) {
	r.t.Helper()
	if _, err := api.DaemonSets.Mutate(r.t.Context(), r.c, "default", "ds", "", func(ds *appsv1.DaemonSet) (bool, error) {
		ds.Spec.Template.Spec.Containers[0].Image = image
		return true, nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

func rolling(surge, unavailable int32) appsv1.DaemonSetUpdateStrategy {
	s, u := intstr.FromInt32(surge), intstr.FromInt32(unavailable)
	return appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u}}
}

func TestOnePodPerNode(t *testing.T) {
	r := start(t, 3, rolling(0, 1))
	ds := r.sync()
	if r.where() != "n0 nginx, n1 nginx, n2 nginx" || ds.Status.DesiredNumberScheduled != 3 || ds.Status.NumberUnavailable != 3 {
		t.Fatalf("pods %s, status %+v", r.where(), ds.Status)
	}
	r.bind()
	if ds = r.sync(); ds.Status.NumberReady != 3 || ds.Status.NumberAvailable != 3 || ds.Status.UpdatedNumberScheduled != 3 || ds.Status.CurrentNumberScheduled != 3 {
		t.Errorf("status %+v", ds.Status)
	}
	if _, err := api.Nodes.Create(t.Context(), r.c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n3"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Nodes.Mutate(t.Context(), r.c, "", "n0", "", func(n *corev1.Node) (bool, error) {
		n.Spec.Taints = []corev1.Taint{{Key: "out", Effect: corev1.TaintEffectNoExecute}}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if ds = r.sync(); r.where() != "n1 nginx, n2 nginx, n3 nginx" {
		t.Errorf("pods %s, status %+v", r.where(), ds.Status)
	}
	if revs := api.ControllerRevisions.View(r.c).List("default"); len(revs) != 1 || r.pods()[0].Labels["controller-revision-hash"] != revs[0].Labels["controller-revision-hash"] {
		t.Errorf("revisions %v", revs)
	}
}

func TestFailedDaemonIsReplacedAfterAPause(t *testing.T) {
	r := start(t, 1, rolling(0, 1))
	r.sync()
	r.bind()
	fail := func() {
		t.Helper()
		controllertest.SetPhase(t, r.c, r.pods()[0], corev1.PodFailed)
		r.sync()
	}
	fail()
	if !r.events.Contains("Warning FailedDaemonPod Found failed daemon pod default/") {
		t.Errorf("events %v", r.events.Take())
	}
	r.bind()
	r.sync()
	r.bind()
	name := r.pods()[0].Name
	fail()
	if len(r.pods()) != 1 || r.pods()[0].Name != name || r.pods()[0].DeletionTimestamp != nil {
		t.Error("the second failure was answered without a pause")
	}
	r.clock = r.clock.Add(2 * time.Second)
	if r.sync(); r.pods()[0].Name == name && r.pods()[0].DeletionTimestamp == nil {
		t.Error("the second failure was never answered")
	}
}

func TestRollingUpdate(t *testing.T) {
	r := start(t, 3, rolling(0, 1))
	r.sync()
	r.bind()
	r.setImage("nginx:2")
	for step := range 20 {
		ds := r.sync()
		if ds.Status.NumberAvailable < 2 {
			t.Fatalf("step %d: %d available", step, ds.Status.NumberAvailable)
		}
		r.bind()
	}
	if ds := r.sync(); r.where() != "n0 nginx:2, n1 nginx:2, n2 nginx:2" || ds.Status.UpdatedNumberScheduled != 3 {
		t.Errorf("pods %s, status %+v", r.where(), ds.Status)
	}
}

func TestRollingUpdateBySurge(t *testing.T) {
	r := start(t, 3, rolling(1, 0))
	r.sync()
	r.bind()
	r.sync()
	r.setImage("nginx:2")
	most := 0
	for step := range 20 {
		ds := r.sync()
		if ds.Status.NumberAvailable < 3 {
			t.Fatalf("step %d: %d available", step, ds.Status.NumberAvailable)
		}
		most = max(most, strings.Count(r.where(), ",")+1)
		r.bind()
	}
	if r.sync(); r.where() != "n0 nginx:2, n1 nginx:2, n2 nginx:2" || most != 4 {
		t.Errorf("pods %s, at most %d", r.where(), most)
	}
}

func TestOnDelete(t *testing.T) {
	r := start(t, 2, appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType})
	r.sync()
	r.bind()
	r.setImage("nginx:2")
	if r.sync(); r.where() != "n0 nginx, n1 nginx" {
		t.Errorf("updated by itself: %s", r.where())
	}
	controllertest.Kill(t, r.c, r.pods()[0])
	r.sync()
	if !strings.Contains(r.where(), "nginx:2") {
		t.Errorf("the replacement is old: %s", r.where())
	}
}
