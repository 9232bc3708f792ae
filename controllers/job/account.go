package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/controllers/pods"
)

// Finished pods are counted exactly once, also when the controller dies in between: first their UIDs are
// written to status.uncountedTerminatedPods, then they lose their finalizer, and only then do the counters
// take them over from the list. A pod cannot vanish before it has lost its finalizer.

// An account is the state of that bookkeeping.
type account struct {
	status   batchv1.JobStatus // with counters and uncounted list as they should be now
	write    bool              // the list has new entries: it must be stored before anything else
	finalize []*corev1.Pod     // pods that are on record and may lose their finalizer
	failures []time.Time       // when newly noted pods failed
	success  bool              // a newly noted pod succeeded
	verdict  verdict           // FailJob, if a newly failed pod asks for it
	failed   []int             // indexes that have used up their retries, or are failed by policy
}

func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

// replaceFailedOnly: a pod that is being deleted gets no replacement, and is no failure, until it has ended.
func replaceFailedOnly(j *batchv1.Job) bool {
	return j.Spec.PodReplacementPolicy != nil && *j.Spec.PodReplacementPolicy == batchv1.Failed
}

func hasFailed(j *batchv1.Job, p *corev1.Pod) bool {
	if p.Status.Phase == corev1.PodFailed {
		return true
	}
	return !replaceFailedOnly(j) && p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded
}

func completions(j *batchv1.Job) int {
	if j.Spec.Completions == nil {
		return 0
	}
	return int(*j.Spec.Completions)
}

// reckon brings the books up to date with the pods.
func reckon(j *batchv1.Job, mine []*corev1.Pod) account {
	a := account{status: *j.Status.DeepCopy()}
	st := &a.status
	if st.UncountedTerminatedPods == nil {
		st.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	open := map[types.UID]*corev1.Pod{} // pods that still have the finalizer
	for _, p := range mine {
		if tracked(p) {
			open[p.UID] = p
		}
	}
	list := st.UncountedTerminatedPods
	list.Succeeded = settle(list.Succeeded, open, &st.Succeeded)
	list.Failed = settle(list.Failed, open, &st.Failed)
	done, lost := parseIndexes(st.CompletedIndexes, completions(j)), a.failedIndexes(j)
	for _, p := range mine {
		if open[p.UID] == nil {
			continue
		}
		if !a.note(j, p, &done, &lost) {
			continue
		}
		a.finalize = append(a.finalize, p)
	}
	if indexed(j) {
		st.Succeeded = int32(len(done))
		st.CompletedIndexes = done.String()
		if j.Spec.BackoffLimitPerIndex != nil {
			text := lost.String()
			st.FailedIndexes = &text
			a.failed = lost
		}
	}
	return a
}

// settle counts the listed pods that have lost their finalizer, and returns the rest.
func settle(list []types.UID, open map[types.UID]*corev1.Pod, counter *int32) []types.UID {
	var rest []types.UID
	for _, uid := range list {
		if open[uid] != nil {
			rest = append(rest, uid)
		} else {
			*counter++
		}
	}
	return rest
}

func (a *account) failedIndexes(j *batchv1.Job) indexSet {
	if a.status.FailedIndexes == nil {
		return nil
	}
	return parseIndexes(*a.status.FailedIndexes, completions(j))
}

// note puts a finished pod on record and says whether it is there.
func (a *account) note(j *batchv1.Job, p *corev1.Pod, done, lost *indexSet) bool {
	list := a.status.UncountedTerminatedPods
	switch {
	case p.Status.Phase == corev1.PodSucceeded && indexed(j):
		if i := indexOf(p); i >= 0 && i < completions(j) && !done.has(i) {
			*done = done.with([]int{i})
			a.write, a.success = true, true
		}
		return true // the index is the record
	case p.Status.Phase == corev1.PodSucceeded:
		if !slices.Contains(list.Succeeded, p.UID) {
			list.Succeeded = append(list.Succeeded, p.UID)
			a.write, a.success = true, true
		}
		return true
	case hasFailed(j, p):
		if !slices.Contains(list.Failed, p.UID) {
			a.noteFailure(j, p, lost)
		}
		return true
	}
	return false
}

func (a *account) noteFailure(j *batchv1.Job, p *corev1.Pod, lost *indexSet) {
	v := judge(j, p)
	if v.action == batchv1.PodFailurePolicyActionFailJob && a.verdict.action == "" {
		a.verdict = v
	}
	if v.action == batchv1.PodFailurePolicyActionIgnore {
		return // it only loses its finalizer
	}
	if limit := j.Spec.BackoffLimitPerIndex; limit != nil {
		if i := indexOf(p); i >= 0 && i < completions(j) &&
			(v.action == batchv1.PodFailurePolicyActionFailIndex || failureCount(p) >= int(*limit)) {
			*lost = lost.with([]int{i})
		}
	}
	list := a.status.UncountedTerminatedPods
	list.Failed = append(list.Failed, p.UID)
	a.write = true
	a.failures = append(a.failures, finishedAt(p))
}

// finishedAt returns when the last container of p ended, or else when it was seen to have failed.
func finishedAt(p *corev1.Pod) time.Time {
	var last time.Time
	for _, s := range p.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	if last.IsZero() {
		if c := pods.Condition(p, corev1.PodReady); c != nil {
			last = c.LastTransitionTime.Time
		}
	}
	if last.IsZero() && p.DeletionTimestamp != nil {
		last = p.DeletionTimestamp.Time
	}
	if last.IsZero() {
		last = p.CreationTimestamp.Time
	}
	return last
}
