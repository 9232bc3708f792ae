package deployment

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

func deployment(replicas int32, surge, unavailable string) *appsv1.Deployment {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "d", Generation: 1},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: controllertest.Selector("web"), Template: controllertest.Template("web")},
	}
	if surge == "" {
		d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
		return d
	}
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	d.Spec.Strategy = appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
	}
	return d
}

// TestRolloutKeepsItsLimits plays rollouts to the end, with pods that become available in random order and
// the size changing on the way, and checks the promise at every step: never more than the surge, never
// fewer available than allowed (but for those that a scale has just asked for).
func TestRolloutKeepsItsLimits(t *testing.T) {
	for seed := range uint64(300) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		limits := []string{"0", "1", "3", "25%", "50%", "100%"}
		d := deployment(int32(rnd.IntN(12)), limits[rnd.IntN(6)], limits[rnd.IntN(6)])
		w := &world{d: d, now: time.Now(), oldPods: func(*appsv1.ReplicaSet) int { return 0 }}
		settle(t, seed, w, rnd)
		for i := range 3 {
			d.Spec.Template.Annotations = map[string]string{"version": fmt.Sprint(i)}
			settle(t, seed, w, rnd)
		}
		if got := sum(w.sets, wanted); got != *d.Spec.Replicas || !complete(d, &d.Status) {
			t.Errorf("seed %d: ended with %d pods of %d, status %+v", seed, got, *d.Spec.Replicas, d.Status)
		}
	}
}

// settle applies plans until nothing changes.
func settle(t *testing.T, seed uint64, w *world, rnd *rand.Rand) {
	t.Helper()
	scaled := false
	for range 500 {
		p := plan(*w)
		apply(w, p)
		changed := p.Create != nil || len(p.Update)+len(p.Scale) > 0
		surge, unavailable := limits(w.d)
		if n := sum(w.sets, wanted); n > *w.d.Spec.Replicas+surge && !scaled {
			t.Fatalf("seed %d: %d pods, at most %d+%d allowed", seed, n, *w.d.Spec.Replicas, surge)
		}
		if len(w.sets) > 1 && !scaled && sum(w.sets, available) < *w.d.Spec.Replicas-unavailable && shrank(p) {
			t.Fatalf("seed %d: %d available of %d, %d may be missing", seed, sum(w.sets, available), *w.d.Spec.Replicas, unavailable)
		}
		progressed := advance(w, rnd)
		w.d.Status = p.Status
		if !changed && !progressed && p.idle() && complete(w.d, &p.Status) {
			return
		}
		if rnd.IntN(60) == 0 {
			n := int32(rnd.IntN(12))
			w.d.Spec.Replicas = &n
			scaled = true // old sizes may be outside of the new limits until it is over
		}
	}
	t.Fatalf("seed %d: the rollout does not end: %s", seed, describe(w.sets))
}

func shrank(p Plan) bool {
	return slices.ContainsFunc(p.Scale, func(s Scale) bool { return s.Size < min(*s.Set.Spec.Replicas, s.Set.Status.AvailableReplicas) })
}

// apply does to the world what the controller would do to the cluster.
func apply(w *world, p Plan) {
	if p.Create != nil {
		p.Create.CreationTimestamp = metav1.NewTime(w.now.Add(time.Duration(len(w.sets)) * time.Second))
		w.sets = append(w.sets, p.Create)
	}
	swap := func(next *appsv1.ReplicaSet) {
		for i, rs := range w.sets {
			if rs.Name == next.Name {
				w.sets[i] = next
			}
		}
	}
	for _, rs := range p.Update {
		swap(rs)
	}
	for _, s := range p.Scale {
		rs := s.Set.DeepCopy()
		rs.Spec.Replicas = &s.Size
		setSizeAnnotations(w.d, rs)
		rs.Status.AvailableReplicas = min(rs.Status.AvailableReplicas, s.Size)
		swap(rs)
	}
	if p.Revision != "" {
		w.d.Annotations = map[string]string{revisionAnnotation: p.Revision}
	}
	for _, rs := range p.Delete {
		w.sets = without(w.sets, rs)
	}
}

// advance plays the ReplicaSet controller and the kubelets: pods follow the sets' sizes, and one more
// becomes available.
func advance(w *world, rnd *rand.Rand) bool {
	changed := false
	var starting []*appsv1.ReplicaSet
	for i, rs := range w.sets {
		rs = rs.DeepCopy()
		rs.Status.AvailableReplicas = min(rs.Status.AvailableReplicas, *rs.Spec.Replicas)
		changed = changed || rs.Status.Replicas != *rs.Spec.Replicas
		rs.Status.Replicas = *rs.Spec.Replicas
		rs.Status.ReadyReplicas = rs.Status.AvailableReplicas
		if w.sets[i] = rs; rs.Status.AvailableReplicas < rs.Status.Replicas {
			starting = append(starting, rs)
		}
	}
	if len(starting) > 0 {
		starting[rnd.IntN(len(starting))].Status.AvailableReplicas++
		return true
	}
	return changed
}

func describe(sets []*appsv1.ReplicaSet) string {
	var out []string
	for _, rs := range sets {
		out = append(out, fmt.Sprintf("%s:%d/%d", rs.Annotations[revisionAnnotation], rs.Status.AvailableReplicas, *rs.Spec.Replicas))
	}
	return strings.Join(out, " ")
}

func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		replicas           int32
		surge, unavailable string
		wantS, wantU       int32
	}{
		{10, "25%", "25%", 3, 2}, {1, "25%", "25%", 1, 0}, {3, "0", "0", 0, 1}, {3, "0%", "10%", 0, 1},
		{4, "1", "100%", 1, 4}, {2, "0", "5", 0, 2}, {0, "0", "0", 0, 0}, {5, "", "", 0, 0},
	} {
		s, u := limits(deployment(tc.replicas, tc.surge, tc.unavailable))
		if s != tc.wantS || u != tc.wantU {
			t.Errorf("%d replicas, %s and %s: surge %d, unavailable %d; want %d, %d", tc.replicas, tc.surge, tc.unavailable, s, u, tc.wantS, tc.wantU)
		}
	}
}

// TestProportions has upstream's documented example: 10 replicas with surge 3 and unavailable 2, in the
// middle of a rollout 8 old and 5 new, scaled to 15 gives 11 and 7 (15+3).
func TestProportions(t *testing.T) {
	d := deployment(10, "3", "2")
	mk := func(name string, size int32, age int) *appsv1.ReplicaSet {
		rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.Unix(int64(age), 0)}, Spec: appsv1.ReplicaSetSpec{Replicas: &size}}
		setSizeAnnotations(d, rs)
		return rs
	}
	sets := []*appsv1.ReplicaSet{mk("old", 8, 1), mk("new", 5, 2)}
	fifteen := int32(15)
	d.Spec.Replicas = &fifteen
	got := map[string]int32{}
	for _, s := range proportions(d, sets) {
		got[s.Set.Name] = s.Size
	}
	if got["old"] != 11 || got["new"] != 7 {
		t.Errorf("sizes %v, want 11 old and 7 new", got)
	}
}

func TestProgressDeadline(t *testing.T) {
	d := deployment(1, "1", "0")
	ten := int32(10)
	d.Spec.ProgressDeadlineSeconds = &ten
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w := world{d: d, now: start, oldPods: func(*appsv1.ReplicaSet) int { return 0 }}
	p := plan(w)
	apply(&w, p)
	w.sets[0].Status.Replicas = 1
	p = plan(w)
	if c := find(p.Status.Conditions, appsv1.DeploymentProgressing); c == nil || c.Status != corev1.ConditionTrue || p.Again != 11*time.Second {
		t.Fatalf("at first: %+v, again in %s", c, p.Again)
	}
	d.Status = p.Status
	w.now = start.Add(12 * time.Second)
	p = plan(w)
	c := find(p.Status.Conditions, appsv1.DeploymentProgressing)
	if c.Reason != deadlineExceeded || c.Status != corev1.ConditionFalse || c.Message != fmt.Sprintf("ReplicaSet %q has timed out progressing.", w.sets[0].Name) {
		t.Errorf("after the deadline: %+v", c)
	}
	d.Status = p.Status
	w.sets[0].Status.ReadyReplicas, w.sets[0].Status.AvailableReplicas = 1, 1
	p = plan(w)
	if c := find(p.Status.Conditions, appsv1.DeploymentProgressing); c.Reason != newSetAvailable {
		t.Errorf("when it works after all: %+v", c)
	}
}

func TestRecreateWaitsForOldPods(t *testing.T) {
	d := deployment(2, "", "")
	left := 2
	w := world{d: d, now: time.Now(), oldPods: func(*appsv1.ReplicaSet) int { return left }}
	left = 0
	apply(&w, plan(w))
	advance(&w, rand.New(rand.NewPCG(0, 0)))
	d.Spec.Template.Annotations = map[string]string{"v": "2"}
	left = 2
	p := plan(w)
	if p.Create != nil || len(p.Scale) != 1 || p.Scale[0].Size != 0 {
		t.Fatalf("first: %+v", p)
	}
	apply(&w, p)
	if p = plan(w); p.Create != nil {
		t.Error("new pods are made while old ones end")
	}
	left = 0
	if p = plan(w); p.Create == nil || *p.Create.Spec.Replicas != 2 {
		t.Errorf("then: %+v", p)
	}
}

// cluster drives the controller against a real API; sets are followed by hand.
type cluster struct {
	t   *testing.T
	c   api.Client
	ctl *Controller
}

func (cl cluster) settle() (*appsv1.Deployment, []*appsv1.ReplicaSet) {
	cl.t.Helper()
	for range 20 {
		if err := cl.ctl.sync(cl.t.Context(), owner.Key{Namespace: "default", Name: "web"}); err != nil {
			cl.t.Fatal(err)
		}
		for _, rs := range api.ReplicaSets.View(cl.c).List("default") {
			rs = rs.DeepCopy()
			n := *rs.Spec.Replicas
			rs.Status = appsv1.ReplicaSetStatus{Replicas: n, ReadyReplicas: n, AvailableReplicas: n, ObservedGeneration: rs.Generation}
			if _, err := api.ReplicaSets.UpdateStatus(cl.t.Context(), cl.c, rs); err != nil {
				cl.t.Fatal(err)
			}
		}
	}
	d, _ := api.Deployments.View(cl.c).Get("default", "web")
	sets := api.ReplicaSets.View(cl.c).List("default")
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int { return int(revision(a) - revision(b)) })
	return d, sets
}

func (cl cluster) setImage(image string) {
	cl.t.Helper()
	if _, err := api.Deployments.Mutate(cl.t.Context(), cl.c, "default", "web", "", func(d *appsv1.Deployment) (bool, error) {
		d.Spec.Template.Spec.Containers[0].Image = image
		return true, nil
	}); err != nil {
		cl.t.Fatal(err)
	}
}

func TestRevisionsAndRollback(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	cl := cluster{t, c, New(c, events)}
	d := deployment(3, "25%", "25%")
	d.UID, d.Generation = "", 0
	limit := int32(2)
	d.Spec.RevisionHistoryLimit = &limit
	if _, err := api.Deployments.Create(t.Context(), c, d); err != nil {
		t.Fatal(err)
	}
	d, sets := cl.settle()
	hash := sets[0].Labels[appsv1.DefaultDeploymentUniqueLabelKey]
	if len(sets) != 1 || d.Annotations[revisionAnnotation] != "1" || sets[0].Name != "web-"+hash || sets[0].Spec.Selector.MatchLabels["pod-template-hash"] != hash {
		t.Fatalf("after create: %s, %+v", describe(sets), d.Annotations)
	}
	if p := find(d.Status.Conditions, appsv1.DeploymentProgressing); d.Status.AvailableReplicas != 3 || p == nil || p.Reason != newSetAvailable {
		t.Errorf("status %+v", d.Status)
	}
	if got := events.Take(); len(got) != 1 || got[0] != "Normal ScalingReplicaSet Scaled up replica set "+sets[0].Name+" from 0 to 3" {
		t.Errorf("events %v", got)
	}
	cl.setImage("nginx:2")
	if d, sets = cl.settle(); describe(sets) != "1:0/0 2:3/3" || d.Annotations[revisionAnnotation] != "2" {
		t.Errorf("after an update: %s, %v", describe(sets), d.Annotations)
	}
	cl.setImage("nginx") // what kubectl rollout undo does
	if d, sets = cl.settle(); describe(sets) != "2:0/0 3:3/3" || d.Annotations[revisionAnnotation] != "3" || sets[1].Annotations[historyAnnotation] != "1" {
		t.Errorf("after a rollback: %s, %v", describe(sets), sets[1].Annotations)
	}
	for i := range 4 {
		cl.setImage(fmt.Sprint("nginx:", 3+i))
		d, sets = cl.settle()
	}
	if describe(sets) != "5:0/0 6:0/0 7:3/3" {
		t.Errorf("history: %s, at most two old ones are kept", describe(sets))
	}
}

func TestPause(t *testing.T) {
	c := inprocesstest.New(t)
	cl := cluster{t, c, New(c, &controllertest.Events{})}
	d := deployment(2, "25%", "25%")
	d.UID, d.Generation = "", 0
	if _, err := api.Deployments.Create(t.Context(), c, d); err != nil {
		t.Fatal(err)
	}
	cl.settle()
	change := func(fn func(*appsv1.Deployment)) (*appsv1.Deployment, []*appsv1.ReplicaSet) {
		t.Helper()
		if _, err := api.Deployments.Mutate(t.Context(), c, "default", "web", "", func(d *appsv1.Deployment) (bool, error) {
			fn(d)
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return cl.settle()
	}
	reason := func(d *appsv1.Deployment) string {
		return find(d.Status.Conditions, appsv1.DeploymentProgressing).Reason
	}
	three := int32(3)
	now, sets := change(func(d *appsv1.Deployment) {
		d.Spec.Paused, d.Spec.Replicas = true, &three
		d.Spec.Template.Spec.Containers[0].Image = "nginx:2"
	})
	if describe(sets) != "1:3/3" || reason(now) != deploymentPaused || now.Status.ObservedGeneration != now.Generation {
		t.Errorf("paused: %s, %s; it scales but does not roll out", describe(sets), reason(now))
	}
	if now, sets = change(func(d *appsv1.Deployment) { d.Spec.Paused = false }); describe(sets) != "1:0/0 2:3/3" || reason(now) != newSetAvailable {
		t.Errorf("resumed: %s, %s", describe(sets), reason(now))
	}
}
