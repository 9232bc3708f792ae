package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/controllers/pods"
)

// burst caps the pods made in one reconcile. Upstream's figure.
const burst = 500

// A Plan is what one reconcile does once the books are in order.
type Plan struct {
	Status batchv1.JobStatus
	Create []int         // completion indexes, or as many -1 as pods are wanted
	Delete []*corev1.Pod // active ones that are not wanted
	Events []event
	Again  time.Duration // when to look again; 0: when something changes
}

type event struct{ kind, reason, message string }

// A world is what plan decides from. All of it is read-only.
type world struct {
	job     *batchv1.Job
	pods    []*corev1.Pod
	books   account
	backoff time.Duration // how long to wait before another pod is made
	now     time.Time
}

func (w *world) active() []*corev1.Pod { return pods.Filter(w.pods, pods.Active) }

func (w *world) terminating() int32 {
	return int32(len(pods.Filter(w.pods, func(p *corev1.Pod) bool { return !pods.Finished(p) && p.DeletionTimestamp != nil })))
}

// plan decides what becomes of a job that is not finished.
func plan(w world) Plan {
	j := w.job
	p := Plan{Status: w.books.status}
	st := &p.Status
	suspended := j.Spec.Suspend != nil && *j.Spec.Suspend
	if st.StartTime == nil && !suspended {
		t := metav1.NewTime(w.now)
		st.StartTime = &t
	}
	p.outcome(w)
	active := w.active()
	target := find(st, batchv1.JobFailureTarget)
	if target == nil {
		target = find(st, batchv1.JobSuccessCriteriaMet)
	}
	switch {
	case target != nil:
		p.Delete = active
	case suspended:
		p.suspend(w, active)
	default:
		p.resume(w)
		p.manage(w, active)
	}
	st.Active = int32(len(active) - len(p.Delete))
	ready := int32(len(pods.Filter(active, func(pod *corev1.Pod) bool { return pods.Ready(pod) && !slices.Contains(p.Delete, pod) })))
	terminating := w.terminating() + int32(len(p.Delete))
	st.Ready, st.Terminating = &ready, &terminating
	if target != nil {
		p.finish(w, *target)
	}
	if d := j.Spec.ActiveDeadlineSeconds; d != nil && st.StartTime != nil && !finished(st) && !suspended {
		p.again(st.StartTime.Add(time.Duration(*d) * time.Second).Sub(w.now))
	}
	return p
}

func (p *Plan) again(d time.Duration) {
	if d = max(d, time.Millisecond); p.Again == 0 || d < p.Again {
		p.Again = d
	}
}

// outcome decides whether the job has failed or reached its goal.
func (p *Plan) outcome(w world) {
	j, st := w.job, &p.Status
	if find(st, batchv1.JobFailureTarget) != nil || find(st, batchv1.JobSuccessCriteriaMet) != nil {
		return
	}
	fail := func(reason, message string) { set(st, batchv1.JobFailureTarget, reason, message, w.now) }
	failed := st.Failed + int32(len(st.UncountedTerminatedPods.Failed))
	limit := *j.Spec.BackoffLimit
	done := parseIndexes(st.CompletedIndexes, completions(j))
	switch {
	case w.books.verdict.action == batchv1.PodFailurePolicyActionFailJob:
		fail("PodFailurePolicy", w.books.verdict.message)
	case failed > limit, restartsExceed(j, w.pods, limit):
		fail("BackoffLimitExceeded", "Job has reached the specified backoff limit")
	case pastDeadline(j, st, w.now):
		fail("DeadlineExceeded", "Job was active longer than specified deadline")
	case j.Spec.MaxFailedIndexes != nil && len(w.books.failed) > int(*j.Spec.MaxFailedIndexes):
		fail("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
	case len(w.books.failed) > 0 && len(done)+len(w.books.failed) >= completions(j):
		fail("FailedIndexes", "Job has failed indexes")
	default:
		if message, ok := succeeds(j, done); ok {
			set(st, batchv1.JobSuccessCriteriaMet, "SuccessPolicy", message, w.now)
		} else if complete(w, st) {
			set(st, batchv1.JobSuccessCriteriaMet, "CompletionsReached", "Reached expected number of succeeded pods", w.now)
		}
	}
}

func succeeded(st *batchv1.JobStatus) int {
	return int(st.Succeeded) + len(st.UncountedTerminatedPods.Succeeded)
}

func complete(w world, st *batchv1.JobStatus) bool {
	if w.job.Spec.Completions == nil {
		// A work queue: one success says that the work is done, the others end by themselves.
		return succeeded(st) > 0 && len(w.active()) == 0 && w.terminating() == 0
	}
	return succeeded(st) >= completions(w.job)
}

func pastDeadline(j *batchv1.Job, st *batchv1.JobStatus, now time.Time) bool {
	d := j.Spec.ActiveDeadlineSeconds
	if d == nil || st.StartTime == nil || j.Spec.Suspend != nil && *j.Spec.Suspend {
		return false
	}
	return now.Sub(st.StartTime.Time) >= time.Duration(*d)*time.Second
}

// restartsExceed counts the restarts inside of pods that the kubelet restarts itself.
func restartsExceed(j *batchv1.Job, all []*corev1.Pod, limit int32) bool {
	if j.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	n := int32(0)
	for _, p := range all {
		if p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
			continue
		}
		for _, s := range append(slices.Clone(p.Status.InitContainerStatuses), p.Status.ContainerStatuses...) {
			n += s.RestartCount
		}
	}
	if limit == 0 {
		return n > 0
	}
	return n >= limit
}

// manage makes pods or takes them away.
func (p *Plan) manage(w world, active []*corev1.Pod) {
	j, st := w.job, &p.Status
	want := int(*j.Spec.Parallelism)
	if j.Spec.Completions == nil {
		if succeeded(st) > 0 {
			want = min(want, len(active))
		}
	} else {
		want = min(want, max(0, completions(j)-succeeded(st)))
	}
	if indexed(j) {
		p.manageIndexed(w, active, want)
		return
	}
	if surplus := len(active) - want; surplus > 0 {
		p.Delete = cheapest(active, surplus, w.now)
		return
	}
	missing := want - len(active)
	if replaceFailedOnly(j) {
		missing -= int(w.terminating())
	}
	if missing <= 0 {
		return
	}
	if w.backoff > 0 {
		p.again(w.backoff)
		return
	}
	p.Create = slices.Repeat([]int{-1}, min(missing, burst))
}

// manageIndexed also takes away pods of indexes that are done, or that have another pod already.
func (p *Plan) manageIndexed(w world, active []*corev1.Pod, want int) {
	j := w.job
	done := parseIndexes(p.Status.CompletedIndexes, completions(j))
	lost := indexSet(w.books.failed)
	taken := map[int]bool{}
	var good []*corev1.Pod
	for _, pod := range active {
		i := indexOf(pod)
		if i < 0 || i >= completions(j) || taken[i] || done.has(i) || lost.has(i) {
			p.Delete = append(p.Delete, pod)
			continue
		}
		taken[i] = true
		good = append(good, pod)
	}
	if surplus := len(good) - want; surplus > 0 {
		p.Delete = append(p.Delete, cheapest(good, surplus, w.now)...)
		return
	}
	if replaceFailedOnly(j) {
		for _, pod := range w.pods {
			if pod.DeletionTimestamp != nil && !pods.Finished(pod) {
				taken[indexOf(pod)] = true
			}
		}
	}
	room := min(want-len(good), burst)
	pauses := map[int]time.Duration{}
	if j.Spec.BackoffLimitPerIndex != nil {
		pauses = indexPauses(w)
	} else if room > 0 && w.backoff > 0 {
		p.again(w.backoff)
		return
	}
	for i := 0; i < completions(j) && len(p.Create) < room; i++ {
		switch {
		case taken[i] || done.has(i) || lost.has(i):
		case pauses[i] > 0:
			p.again(pauses[i])
		default:
			p.Create = append(p.Create, i)
		}
	}
}

// indexPauses says how long each index has to wait after its own last failure, where indexes fail apart.
func indexPauses(w world) map[int]time.Duration {
	latest := map[int]*corev1.Pod{}
	for _, pod := range w.pods {
		i := indexOf(pod)
		if hasFailed(w.job, pod) && (latest[i] == nil || failureCount(pod) >= failureCount(latest[i])) {
			latest[i] = pod
		}
	}
	out := map[int]time.Duration{}
	for i, pod := range latest {
		out[i] = finishedAt(pod).Add(pause(failureCount(pod) + 1)).Sub(w.now)
	}
	return out
}

// pause is how long to wait after the nth failure.
func pause(n int) time.Duration { return min(firstPause<<min(n-1, 10), maxPause) }

func cheapest(active []*corev1.Pod, n int, now time.Time) []*corev1.Pod {
	sorted := slices.Clone(active)
	pods.SortForDeletion(sorted, func(*corev1.Pod) int { return 0 }, now)
	return sorted[:n]
}

// suspend takes all pods away until the job is resumed; its clock starts anew then.
func (p *Plan) suspend(w world, active []*corev1.Pod) {
	p.Delete = active
	p.Status.StartTime = nil
	if setStatus(&p.Status, batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", w.now) {
		p.Events = append(p.Events, event{corev1.EventTypeNormal, "Suspended", "Job suspended"})
	}
}

func (p *Plan) resume(w world) {
	if find(&p.Status, batchv1.JobSuspended) == nil {
		return
	}
	setStatus(&p.Status, batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", w.now)
	p.Events = append(p.Events, event{corev1.EventTypeNormal, "Resumed", "Job resumed"})
	t := metav1.NewTime(w.now)
	p.Status.StartTime = &t
}

// finish sets the final condition when no pod is left that runs or waits to be counted.
func (p *Plan) finish(w world, target batchv1.JobCondition) {
	st := &p.Status
	list := st.UncountedTerminatedPods
	if len(p.Delete) > 0 || *st.Terminating > 0 || st.Active > 0 || len(list.Failed)+len(list.Succeeded) > 0 || len(w.books.finalize) > 0 {
		return
	}
	if target.Type == batchv1.JobFailureTarget {
		set(st, batchv1.JobFailed, target.Reason, target.Message, w.now)
		p.Events = append(p.Events, event{corev1.EventTypeWarning, target.Reason, target.Message})
		return
	}
	set(st, batchv1.JobComplete, target.Reason, target.Message, w.now)
	t := metav1.NewTime(w.now)
	st.CompletionTime = &t
	p.Events = append(p.Events, event{corev1.EventTypeNormal, "Completed", "Job completed"})
}

// find returns the condition if it is true.
func find(st *batchv1.JobStatus, t batchv1.JobConditionType) *batchv1.JobCondition {
	for i, c := range st.Conditions {
		if c.Type == t && c.Status == corev1.ConditionTrue {
			return &st.Conditions[i]
		}
	}
	return nil
}

func finished(st *batchv1.JobStatus) bool {
	return find(st, batchv1.JobComplete) != nil || find(st, batchv1.JobFailed) != nil
}

func set(st *batchv1.JobStatus, t batchv1.JobConditionType, reason, message string, now time.Time) {
	setStatus(st, t, corev1.ConditionTrue, reason, message, now)
}

// setStatus says whether it changed anything.
func setStatus(st *batchv1.JobStatus, t batchv1.JobConditionType, s corev1.ConditionStatus, reason, message string, now time.Time) bool {
	next := batchv1.JobCondition{Type: t, Status: s, Reason: reason, Message: message,
		LastProbeTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now)}
	for i, c := range st.Conditions {
		if c.Type != t {
			continue
		}
		if c.Status == s {
			return false
		}
		st.Conditions = slices.Clone(st.Conditions)
		st.Conditions[i] = next
		return true
	}
	st.Conditions = append(slices.Clone(st.Conditions), next)
	return true
}
