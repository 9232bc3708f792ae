package statefulset

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

// A run drives one set and plays the kubelet.
type run struct {
	t      *testing.T
	c      *inprocess.Client
	ctl    *Controller
	events controllertest.Events
}

func start(t *testing.T, replicas int32, change func(*appsv1.StatefulSetSpec)) *run {
	r := &run{t: t, c: inprocesstest.New(t)}
	r.ctl = New(r.c, &r.events)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "db"}, Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, ServiceName: "db", Selector: controllertest.Selector("db"), Template: controllertest.Template("db")}}
	set.Spec.Template.Spec.NodeName = "n" // bound pods end gracefully
	change(&set.Spec)
	if _, err := api.StatefulSets.Create(t.Context(), r.c, set); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) sync() *appsv1.StatefulSet {
	r.t.Helper()
	for range 3 {
		if err := r.ctl.sync(r.t.Context(), owner.Key{Namespace: "default", Name: "db"}); err != nil {
			r.t.Fatal(err)
		}
	}
	set, _ := api.StatefulSets.View(r.c).Get("default", "db")
	return set
}

// live lists "ordinal:image" of the pods, with "!" for those that are not ready and "-" for those deleted.
func (r *run) live() string {
	var out []string
	for _, p := range api.Pods.View(r.c).List("default") {
		mark := ""
		if !running(p) {
			mark = "!"
		}
		if p.DeletionTimestamp != nil {
			mark = "-"
		}
		out = append(out, strings.TrimPrefix(p.Name, "db-")+":"+p.Spec.Containers[0].Image+mark)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// step lets deleted pods end and pending ones run.
func (r *run) step() {
	r.t.Helper()
	for _, p := range api.Pods.View(r.c).List("default") {
		if p.DeletionTimestamp != nil {
			controllertest.Kill(r.t, r.c, p)
		}
	}
	controllertest.RunAll(r.t, r.c, "default")
}

func (r *run) change(fn func(*appsv1.StatefulSet)) {
	r.t.Helper()
	if _, err := api.StatefulSets.Mutate(r.t.Context(), r.c, "default", "db", "", func(s *appsv1.StatefulSet) (bool, error) {
		fn(s)
		return true, nil
	}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *run) settle() *appsv1.StatefulSet {
	r.t.Helper()
	for range 15 {
		r.sync()
		r.step()
	}
	return r.sync()
}

func TestOneAfterTheOther(t *testing.T) {
	r := start(t, 3, func(*appsv1.StatefulSetSpec) {})
	for _, want := range []string{"0:nginx!", "0:nginx 1:nginx!", "0:nginx 1:nginx 2:nginx!"} {
		if r.sync(); r.live() != want {
			t.Fatalf("pods %q, want %q", r.live(), want)
		}
		r.step()
	}
	set := r.sync()
	if st := set.Status; st.Replicas != 3 || st.ReadyReplicas != 3 || st.AvailableReplicas != 3 || st.CurrentReplicas != 3 || st.UpdatedReplicas != 3 || st.CurrentRevision != st.UpdateRevision {
		t.Errorf("status %+v", st)
	}
	p, _ := api.Pods.View(r.c).Get("default", "db-1")
	if p.Spec.Hostname != "db-1" || p.Spec.Subdomain != "db" || p.Labels[appsv1.PodIndexLabel] != "1" || p.Labels[appsv1.StatefulSetPodNameLabel] != "db-1" || p.Labels[appsv1.StatefulSetRevisionLabel] != set.Status.UpdateRevision {
		t.Errorf("pod %+v %+v", p.Labels, p.Spec)
	}
	if got := r.events.Take(); got[0] != "Normal SuccessfulCreate create Pod db-0 in StatefulSet db successful" {
		t.Errorf("events %v", got)
	}
	one := int32(1)
	r.change(func(s *appsv1.StatefulSet) { s.Spec.Replicas = &one })
	for _, want := range []string{"0:nginx 1:nginx", "0:nginx"} {
		r.sync()
		r.step()
		if r.live() != want {
			t.Fatalf("scaled down: %q, want %q", r.live(), want)
		}
	}
}

func TestWaitsForASickMember(t *testing.T) {
	r := start(t, 2, func(*appsv1.StatefulSetSpec) {})
	r.settle()
	p, _ := api.Pods.View(r.c).Get("default", "db-0")
	controllertest.SetPhase(t, r.c, p, corev1.PodPending)
	three := int32(3)
	r.change(func(s *appsv1.StatefulSet) { s.Spec.Replicas = &three })
	if r.sync(); r.live() != "0:nginx! 1:nginx" {
		t.Errorf("went on: %s", r.live())
	}
}

func TestParallel(t *testing.T) {
	r := start(t, 3, func(s *appsv1.StatefulSetSpec) { s.PodManagementPolicy = appsv1.ParallelPodManagement })
	if r.sync(); r.live() != "0:nginx! 1:nginx! 2:nginx!" {
		t.Errorf("pods %s", r.live())
	}
	zero := int32(0)
	r.change(func(s *appsv1.StatefulSet) { s.Spec.Replicas = &zero })
	r.sync()
	if r.step(); r.live() != "" {
		t.Errorf("scaled to nothing: %s", r.live())
	}
}

func TestFailedMemberIsMadeAnew(t *testing.T) {
	r := start(t, 1, func(*appsv1.StatefulSetSpec) {})
	r.settle()
	p, _ := api.Pods.View(r.c).Get("default", "db-0")
	controllertest.SetPhase(t, r.c, p, corev1.PodFailed)
	r.settle()
	if q, _ := api.Pods.View(r.c).Get("default", "db-0"); q == nil || q.UID == p.UID {
		t.Error("the failed pod is still there")
	}
	if !r.events.Contains("Warning RecreatingFailedPod StatefulSet default/db is recreating failed Pod db-0") {
		t.Errorf("events %v", r.events.Take())
	}
}

func TestRollingUpdateAndPartition(t *testing.T) {
	r := start(t, 3, func(*appsv1.StatefulSetSpec) {})
	before := r.settle().Status.CurrentRevision
	two := int32(2)
	r.change(func(s *appsv1.StatefulSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: &two}
		s.Spec.Template.Spec.Containers[0].Image = "new"
	})
	if set := r.settle(); r.live() != "0:nginx 1:nginx 2:new" || set.Status.UpdatedReplicas != 1 || set.Status.CurrentReplicas != 2 || set.Status.CurrentRevision != before {
		t.Fatalf("down to the partition: %s, %+v", r.live(), set.Status)
	}
	p, _ := api.Pods.View(r.c).Get("default", "db-0")
	controllertest.Kill(t, r.c, p)
	if r.settle(); r.live() != "0:nginx 1:nginx 2:new" {
		t.Errorf("a member below the partition came back as %s", r.live())
	}
	zero := int32(0)
	r.change(func(s *appsv1.StatefulSet) { s.Spec.UpdateStrategy.RollingUpdate.Partition = &zero })
	var seen []string
	for range 12 {
		r.sync()
		if s := r.live(); len(seen) == 0 || seen[len(seen)-1] != s {
			seen = append(seen, s)
		}
		r.step()
	}
	set := r.sync()
	want := []string{"0:nginx 1:nginx- 2:new", "0:nginx 1:new! 2:new", "0:nginx- 1:new 2:new", "0:new! 1:new 2:new", "0:new 1:new 2:new"}
	if got := slices.DeleteFunc(seen, func(s string) bool { return !slices.Contains(want, s) }); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("went through %q", seen)
	}
	if set.Status.CurrentRevision == before || set.Status.CurrentRevision != set.Status.UpdateRevision || set.Status.CurrentReplicas != 3 {
		t.Errorf("status %+v", set.Status)
	}
}

func TestClaims(t *testing.T) {
	r := start(t, 2, func(s *appsv1.StatefulSetSpec) {
		s.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{ObjectMeta: metav1.ObjectMeta{Name: "data"},
			Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}}
		s.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
			WhenDeleted: appsv1.RetainPersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.DeletePersistentVolumeClaimRetentionPolicyType}
	})
	view := api.PersistentVolumeClaims.View(r.c)
	r.sync()
	if err := api.PersistentVolumeClaims.Delete(t.Context(), r.c, "default", "data-db-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if r.sync(); len(view.List("default")) != 1 {
		t.Error("the claim of a pending pod was not made anew")
	}
	r.settle()
	claim, ok := view.Get("default", "data-db-1")
	if !ok || claim.Labels["app"] != "db" || len(claim.OwnerReferences) != 0 || len(view.List("default")) != 2 {
		t.Fatalf("claims %v", view.List("default"))
	}
	p, _ := api.Pods.View(r.c).Get("default", "db-1")
	if p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName != "data-db-1" {
		t.Errorf("volumes %+v", p.Spec.Volumes)
	}
	one := int32(1)
	r.change(func(s *appsv1.StatefulSet) { s.Spec.Replicas = &one })
	r.sync()
	if claim, _ = view.Get("default", "data-db-1"); len(claim.OwnerReferences) != 1 || claim.OwnerReferences[0].UID != p.UID {
		t.Errorf("the claim of a member that goes is owned by %+v", claim.OwnerReferences)
	}
}

func TestOrdinals(t *testing.T) {
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	for name, want := range map[string]int{"web-0": 0, "web-17": 17, "web": -1, "web-": -1, "web-01": -1, "web-x": -1, "other-1": -1, "web--1": -1} {
		if got := ordinal(set, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}}); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
