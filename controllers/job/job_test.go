package job

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
)

func TestIndexes(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{"", ""}, {"3", "3"}, {"0,1", "0,1"}, {"0-1", "0,1"}, {"0,1,2,5", "0-2,5"}, {"0-3,2-7,9", "0-7,9"}, {"8-30", "8,9"}, {"x,4", "4"},
	} {
		if got := parseIndexes(tc.in, 10).String(); got != tc.want {
			t.Errorf("%q: %q, want %q", tc.in, got, tc.want)
		}
	}
	for seed := range uint64(100) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var s indexSet
		for range rnd.IntN(50) {
			s = s.with([]int{rnd.IntN(60)})
		}
		if back := parseIndexes(s.String(), 60); !slices.Equal(back, s) {
			t.Errorf("%v became %q and %v", s, s, back)
		}
	}
}

func FuzzIndexes(f *testing.F) {
	f.Add("0-3,7")
	f.Fuzz(func(t *testing.T, text string) {
		for _, i := range parseIndexes(text, 100) {
			if i >= 100 {
				t.Errorf("%q gives index %d", text, i)
			}
		}
	})
}

// A run drives one job and plays the kubelet.
type run struct {
	t      *testing.T
	c      *inprocess.Client
	ctl    *Controller
	events controllertest.Events
	clock  time.Time
}

func start(t *testing.T, change func(*batchv1.JobSpec)) *run {
	r := &run{t: t, c: inprocesstest.New(t), clock: time.Now()}
	r.ctl = New(r.c, &r.events)
	r.ctl.now = func() time.Time { return r.clock }
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "j"}, Spec: batchv1.JobSpec{Template: controllertest.Template("j")}}
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	change(&j.Spec)
	if _, err := api.Jobs.Create(t.Context(), r.c, j); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *run) sync() *batchv1.Job {
	r.t.Helper()
	for range 5 {
		if err := r.ctl.sync(r.t.Context(), owner.Key{Namespace: "default", Name: "j"}); err != nil {
			r.t.Fatal(err)
		}
	}
	j, _ := api.Jobs.View(r.c).Get("default", "j")
	return j
}

func (r *run) all() []*corev1.Pod { return api.Pods.View(r.c).List("default") }

func (r *run) active() []*corev1.Pod { return pods.Filter(r.all(), pods.Active) }

func (r *run) end(p *corev1.Pod, phase corev1.PodPhase, exit int32) {
	r.t.Helper()
	_, err := api.Pods.Mutate(r.t.Context(), r.c, "default", p.Name, "status", func(p *corev1.Pod) (bool, error) {
		p.Status.Phase = phase
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: exit, FinishedAt: metav1.NewTime(r.clock)}}}}
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// reap plays the end of the grace period of deleted pods.
func (r *run) reap() {
	r.t.Helper()
	for _, p := range r.all() {
		if p.DeletionTimestamp != nil {
			controllertest.Kill(r.t, r.c, p)
		}
	}
}

func condition(j *batchv1.Job) string {
	var out []string
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			out = append(out, string(c.Type)+":"+c.Reason)
		}
	}
	return strings.Join(out, " ")
}

func ptr[T any](v T) *T { return &v }

func TestCompletions(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = ptr(int32(5)), ptr(int32(2)) })
	for n := range 5 {
		j := r.sync()
		if want := min(2, 5-n); len(r.active()) != want || int(j.Status.Active) != want || int(j.Status.Succeeded) != n {
			t.Fatalf("after %d: %d pods, status %+v", n, len(r.active()), j.Status)
		}
		r.end(r.active()[0], corev1.PodSucceeded, 0)
	}
	j := r.sync()
	if condition(j) != "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached" || j.Status.CompletionTime == nil || j.Status.Succeeded != 5 || j.Status.Active != 0 {
		t.Errorf("status %+v", j.Status)
	}
	for _, p := range r.all() {
		if tracked(p) {
			t.Errorf("pod %s keeps its finalizer", p.Name)
		}
	}
	if got := r.events.Take(); got[len(got)-1] != "Normal Completed Job completed" || len(got) != 6 {
		t.Errorf("events %v", got)
	}
}

func TestBackoffLimit(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) { s.BackoffLimit = ptr(int32(1)) })
	r.sync()
	r.end(r.active()[0], corev1.PodFailed, 1)
	if r.sync(); len(r.active()) != 0 {
		t.Error("a failed pod was replaced without a pause")
	}
	r.clock = r.clock.Add(firstPause)
	if r.sync(); len(r.active()) != 1 {
		t.Fatal("a failed pod was not replaced after the pause")
	}
	r.end(r.active()[0], corev1.PodFailed, 1)
	j := r.sync()
	if condition(j) != "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded" || j.Status.Failed != 2 {
		t.Errorf("status %+v", j.Status)
	}
	if !r.events.Contains("Warning BackoffLimitExceeded Job has reached the specified backoff limit") {
		t.Errorf("events %v", r.events.Take())
	}
}

func TestCountedOnceWhateverHappens(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) { s.Completions, s.Parallelism = ptr(int32(3)), ptr(int32(3)) })
	r.sync()
	for _, p := range r.active() {
		r.end(p, corev1.PodSucceeded, 0)
	}
	// A crash after the list was written: the pods still have their finalizers.
	j, _ := api.Jobs.View(r.c).Get("default", "j")
	books := reckon(j, r.all())
	if !books.write || len(books.status.UncountedTerminatedPods.Succeeded) != 3 || books.status.Succeeded != 0 {
		t.Fatalf("books %+v", books)
	}
	if err := r.ctl.writeStatus(t.Context(), j, books.status); err != nil {
		t.Fatal(err)
	}
	// Another crash, one finalizer further.
	if err := r.ctl.release(t.Context(), r.all()[:1]); err != nil {
		t.Fatal(err)
	}
	if j := r.sync(); j.Status.Succeeded != 3 || condition(j) == "" {
		t.Errorf("status %+v", j.Status)
	}
}

func TestIndexed(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) {
		s.CompletionMode, s.Completions, s.Parallelism = ptr(batchv1.IndexedCompletion), ptr(int32(4)), ptr(int32(4))
	})
	r.sync()
	for _, p := range r.active() {
		i := indexOf(p)
		if p.Spec.Hostname != fmt.Sprint("j-", i) || !strings.HasPrefix(p.Name, fmt.Sprintf("j-%d-", i)) || p.Spec.Containers[0].Env[0].Name != "JOB_COMPLETION_INDEX" {
			t.Errorf("pod %+v", p)
		}
		if i != 1 {
			r.end(p, corev1.PodSucceeded, 0)
		}
	}
	if j := r.sync(); j.Status.CompletedIndexes != "0,2,3" || j.Status.Succeeded != 3 || len(r.active()) != 1 {
		t.Errorf("status %+v", j.Status)
	}
	r.end(r.active()[0], corev1.PodSucceeded, 0)
	if j := r.sync(); j.Status.CompletedIndexes != "0-3" || find(&j.Status, batchv1.JobComplete) == nil {
		t.Errorf("status %+v", j.Status)
	}
}

func TestBackoffLimitPerIndex(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) {
		s.CompletionMode, s.Completions, s.Parallelism = ptr(batchv1.IndexedCompletion), ptr(int32(2)), ptr(int32(2))
		s.BackoffLimitPerIndex = ptr(int32(1))
	})
	for n := range 2 {
		r.sync()
		for _, p := range r.active() {
			if indexOf(p) == 0 {
				r.end(p, corev1.PodFailed, 1)
			}
		}
		if r.sync(); len(r.active()) != 1 {
			t.Errorf("failure %d was answered without a pause", n)
		}
		r.clock = r.clock.Add(firstPause)
	}
	if j := r.sync(); *j.Status.FailedIndexes != "0" || len(r.active()) != 1 || condition(j) != "" {
		t.Fatalf("index 0 has used up its retries: %+v, %d pods", j.Status, len(r.active()))
	}
	r.end(r.active()[0], corev1.PodSucceeded, 0)
	if j := r.sync(); condition(j) != "FailureTarget:FailedIndexes Failed:FailedIndexes" {
		t.Errorf("status %+v", j.Status)
	}
}

func TestSuspend(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) { s.Suspend = ptr(true) })
	suspend := func(yes bool) *batchv1.Job {
		t.Helper()
		if _, err := api.Jobs.Mutate(t.Context(), r.c, "default", "j", "", func(j *batchv1.Job) (bool, error) {
			j.Spec.Suspend = &yes
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return r.sync()
	}
	if j := r.sync(); len(r.all()) != 0 || condition(j) != "Suspended:JobSuspended" || j.Status.StartTime != nil {
		t.Errorf("born suspended: %d pods, %+v", len(r.all()), j.Status)
	}
	if j := suspend(false); len(r.active()) != 1 || condition(j) != "" || j.Status.StartTime == nil {
		t.Errorf("resumed: %d pods, %+v", len(r.active()), j.Status)
	}
	if j := suspend(true); len(r.active()) != 0 || j.Status.Failed != 0 || condition(j) != "Suspended:JobSuspended" {
		t.Errorf("suspended again: %d pods, %+v", len(r.active()), j.Status)
	}
	want := []string{"Normal Suspended Job suspended", "Normal Resumed Job resumed"}
	for _, e := range want {
		if !r.events.Contains(e) {
			t.Errorf("no event %q", e)
		}
	}
}

func TestDeadlineEndsRunningPods(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) { s.ActiveDeadlineSeconds = ptr(int64(10)) })
	r.sync()
	controllertest.SetPhase(t, r.c, r.active()[0], corev1.PodRunning)
	r.clock = r.clock.Add(11 * time.Second)
	if j := r.sync(); find(&j.Status, batchv1.JobFailureTarget) == nil || len(r.active()) != 0 {
		t.Errorf("past the deadline: %+v", j.Status)
	}
	r.reap()
	if j := r.sync(); condition(j) != "FailureTarget:DeadlineExceeded Failed:DeadlineExceeded" || j.Status.Failed != 1 {
		t.Errorf("in the end: %+v", j.Status)
	}
}

func TestTimeToLive(t *testing.T) {
	r := start(t, func(s *batchv1.JobSpec) { s.TTLSecondsAfterFinished = ptr(int32(60)) })
	r.sync()
	r.end(r.active()[0], corev1.PodSucceeded, 0)
	r.sync()
	r.clock = r.clock.Add(59 * time.Second)
	if r.sync() == nil {
		t.Fatal("deleted too early")
	}
	r.clock = r.clock.Add(2 * time.Second)
	if j := r.sync(); j != nil && j.DeletionTimestamp == nil {
		t.Error("not deleted")
	}
}

func TestPodFailurePolicy(t *testing.T) {
	rule := func(action batchv1.PodFailurePolicyAction, codes ...int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{Action: action, OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
			Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: codes}}
	}
	r := start(t, func(s *batchv1.JobSpec) {
		s.BackoffLimit = ptr(int32(0))
		s.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
			rule(batchv1.PodFailurePolicyActionIgnore, 7), rule(batchv1.PodFailurePolicyActionFailJob, 42)}}
	})
	r.sync()
	r.end(r.active()[0], corev1.PodFailed, 7)
	if j := r.sync(); condition(j) != "" || j.Status.Failed != 0 || len(r.active()) != 1 {
		t.Fatalf("an ignored failure: %+v", j.Status)
	}
	name := r.active()[0].Name
	r.end(r.active()[0], corev1.PodFailed, 42)
	j := r.sync()
	want := fmt.Sprintf("Container c for pod default/%s failed with exit code 42 matching FailJob rule at index 1", name)
	if condition(j) != "FailureTarget:PodFailurePolicy Failed:PodFailurePolicy" || j.Status.Conditions[0].Message != want {
		t.Errorf("status %+v", j.Status)
	}
}

func TestPodsOfADeletedJobAreFreed(t *testing.T) {
	r := start(t, func(*batchv1.JobSpec) {})
	r.sync()
	orphan := metav1.DeletePropagationBackground
	if err := api.Jobs.Delete(t.Context(), r.c, "default", "j", metav1.DeleteOptions{PropagationPolicy: &orphan}); err != nil {
		t.Fatal(err)
	}
	if r.sync(); tracked(r.all()[0]) {
		t.Error("the pod keeps its finalizer")
	}
}
