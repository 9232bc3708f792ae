package replicaset

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// pod reads "name phase [ready|unbound|terminating|cost=N|node=N|restarts=N|age=D]…".
func pod(text string) *corev1.Pod {
	words := strings.Fields(text)
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: words[0], CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))}}
	p.Spec.NodeName = "n"
	p.Status.Phase = corev1.PodPhase(words[1])
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		switch k {
		case "ready":
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: p.CreationTimestamp}}
		case "unbound":
			p.Spec.NodeName = ""
		case "terminating":
			p.DeletionTimestamp = &metav1.Time{Time: now}
		case "cost":
			p.Annotations = map[string]string{corev1.PodDeletionCost: v}
		case "node":
			p.Spec.NodeName = v
		case "restarts":
			var n int32
			fmt.Sscan(v, &n)
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: n}}
		case "age":
			d, _ := time.ParseDuration(v)
			p.CreationTimestamp = metav1.NewTime(now.Add(-d))
		}
	}
	return p
}

func TestPlan(t *testing.T) {
	for _, tc := range []struct {
		name     string
		replicas int32
		pods     []string
		want     string
	}{
		{"none yet", 3, nil, "create 3"},
		{"a burst at most", 1200, nil, "create 500"},
		{"enough", 2, []string{"a Running ready", "b Pending"}, ""},
		{"a terminating pod is replaced at once", 2, []string{"a Running", "b Running terminating"}, "create 1"},
		{"a finished pod is replaced", 1, []string{"a Failed"}, "create 1"},
		{"unbound goes first", 1, []string{"a Running ready", "b Pending", "c Pending unbound"}, "delete c b"},
		{"pending before running", 1, []string{"a Running", "b Pending"}, "delete b"},
		{"not ready before ready", 1, []string{"a Running ready", "b Running"}, "delete b"},
		{"cheap first", 1, []string{"a Running ready cost=10", "b Running ready cost=-5"}, "delete b"},
		{"a faulty cost is none", 1, []string{"a Running ready cost=+1", "b Running ready cost=1"}, "delete a"},
		{"from the crowded node", 2, []string{"a Running ready node=x", "b Running ready node=y", "c Running ready node=y"}, "delete b"},
		{"many restarts first", 1, []string{"a Running ready restarts=1", "b Running ready restarts=7"}, "delete b"},
		{"young first", 1, []string{"a Running age=2h", "b Running age=1m"}, "delete b"},
		{"about equally old: any, the first", 1, []string{"a Running age=65m", "b Running age=64m"}, "delete a"},
		{"down to none", 0, []string{"a Running ready", "b Running terminating"}, "delete a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var mine []*corev1.Pod
			for _, text := range tc.pods {
				mine = append(mine, pod(text))
			}
			s := &set{object: &appsv1.ReplicaSet{}, replicas: tc.replicas}
			if got := describe(plan(s, mine, relatedOnNode(mine), now)); got != tc.want {
				t.Errorf("plan %q, want %q", got, tc.want)
			}
			s.object.SetDeletionTimestamp(&metav1.Time{Time: now})
			if got := describe(plan(s, mine, relatedOnNode(mine), now)); got != "" {
				t.Errorf("while being deleted: %q", got)
			}
		})
	}
}

func describe(p Plan) string {
	if p.Create > 0 {
		return fmt.Sprint("create ", p.Create)
	}
	out := ""
	for _, d := range p.Delete {
		out += " " + d.Name
	}
	if out == "" {
		return ""
	}
	return "delete" + out
}

func TestLifeOfAReplicaSet(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	three := int32(3)
	rs, err := api.ReplicaSets.Create(t.Context(), c, &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &three, Selector: controllertest.Selector("web"), Template: controllertest.Template("web")},
	})
	if err != nil {
		t.Fatal(err)
	}
	orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "web"}}, Spec: controllertest.Template("").Spec}
	if _, err := api.Pods.Create(t.Context(), c, orphan); err != nil {
		t.Fatal(err)
	}
	sync := func() *appsv1.ReplicaSet {
		t.Helper()
		if err := ctl.sync(t.Context(), owner.KeyOf(rs)); err != nil {
			t.Fatal(err)
		}
		now, _ := api.ReplicaSets.View(c).Get("default", "web")
		return now
	}
	view := api.Pods.View(c)
	if got := sync(); got.Status.Replicas != 3 || got.Status.ReadyReplicas != 0 || got.Status.ObservedGeneration != 1 {
		t.Errorf("status %+v", got.Status)
	}
	if all := view.List("default"); len(all) != 3 {
		t.Errorf("%d pods; the orphan was to be adopted and two made", len(all))
	}
	if n := len(events.Take()); n != 2 {
		t.Errorf("%d events", n)
	}
	controllertest.RunAll(t, c, "default")
	if got := sync(); got.Status.ReadyReplicas != 3 || got.Status.AvailableReplicas != 3 || got.Status.FullyLabeledReplicas != 3 {
		t.Errorf("status %+v", got.Status)
	}
	// A pod whose label changes is released and replaced.
	if _, err := api.Pods.Mutate(t.Context(), c, "default", "orphan", "", func(p *corev1.Pod) (bool, error) {
		p.Labels["app"] = "other"
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	sync()
	if p, _ := view.Get("default", "orphan"); len(p.OwnerReferences) != 0 || len(view.List("default")) != 4 {
		t.Errorf("released pod %+v, %d pods", p.OwnerReferences, len(view.List("default")))
	}
	if _, err := api.ReplicaSets.Mutate(t.Context(), c, "default", "web", "", func(rs *appsv1.ReplicaSet) (bool, error) {
		one := int32(1)
		rs.Spec.Replicas = &one
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := sync(); got.Status.Replicas != 1 || got.Status.TerminatingReplicas == nil || *got.Status.TerminatingReplicas+got.Status.Replicas < 1 {
		t.Errorf("scaled down: %+v", got.Status)
	}
	if !events.Contains("Normal SuccessfulDelete Deleted pod: web-") {
		t.Errorf("events %v", events.Take())
	}
}

func TestFailureIsACondition(t *testing.T) {
	var st status
	st.setFailure(fmt.Errorf("quota"), "FailedCreate", now)
	st.setFailure(fmt.Errorf("later"), "FailedCreate", now)
	if len(st.Conditions) != 1 || st.Conditions[0].Message != "quota" || st.Conditions[0].Type != "ReplicaFailure" {
		t.Errorf("conditions %+v", st.Conditions)
	}
	if st.setFailure(nil, "", now); len(st.Conditions) != 0 {
		t.Errorf("conditions %+v", st.Conditions)
	}
}

func TestReplicationController(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := NewForReplicationControllers(c, &controllertest.Events{})
	two := int32(2)
	tpl := controllertest.Template("rc")
	rc, err := api.ReplicationControllers.Create(t.Context(), c, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "rc"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: &two, Template: &tpl},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctl.sync(t.Context(), owner.KeyOf(rc)); err != nil {
		t.Fatal(err)
	}
	rc, _ = api.ReplicationControllers.View(c).Get("default", "rc")
	if n := len(api.Pods.View(c).List("default")); n != 2 || rc.Status.Replicas != 2 {
		t.Errorf("%d pods, status %+v", n, rc.Status)
	}
}
