package batch

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"clipper/catalogue/rule"
)

// A statusUpdate is one pass over the new status of a job. Another controller may own the job, so that the
// server sees to it that a status tells one story: but only of what changes, for an update of the spec can
// make an old status wrong until its controller has seen it.
type statusUpdate struct {
	*rule.Faults
	job, old *batchv1.Job
	is, was  *batchv1.JobStatus
}

func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	u := statusUpdate{Faults: &rule.Faults{}, job: j, old: old, is: &j.Status, was: &old.Status}
	u.counters()
	u.ends()
	u.times()
	u.finished()
	u.indexes()
	u.running()
	u.success()
	u.steps()
	return u.List
}

// has says whether a condition is true in the new status, turned whether it was not so before.
func (u *statusUpdate) has(t batchv1.JobConditionType) bool { return jobIs(u.job, t) }

func (u *statusUpdate) turned(types ...batchv1.JobConditionType) bool {
	for _, t := range types {
		if jobIs(u.job, t) != jobIs(u.old, t) {
			return true
		}
	}
	return false
}

// conditions says that the conditions contradict each other.
func (u *statusUpdate) conditions(broken bool, text string) {
	if broken {
		u.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, text)
	}
}

func (u *statusUpdate) counters() {
	u.AtLeastZero(statusPath.Child("active"), int64(u.is.Active))
	u.AtLeastZero(statusPath.Child("succeeded"), int64(u.is.Succeeded))
	u.AtLeastZero(statusPath.Child("failed"), int64(u.is.Failed))
	u.AtLeastZeroIfSet(statusPath.Child("ready"), u.is.Ready)
	u.AtLeastZeroIfSet(statusPath.Child("terminating"), u.is.Terminating)
	if p := u.is.UncountedTerminatedPods; p != nil {
		seen := rule.Seen[types.UID]{}
		u.uncounted(p.Succeeded, seen, statusPath.Child("uncountedTerminatedPods", "succeeded"))
		u.uncounted(p.Failed, seen, statusPath.Child("uncountedTerminatedPods", "failed"))
	}
}

func (u *statusUpdate) uncounted(uids []types.UID, seen rule.Seen[types.UID], at *field.Path) {
	for i, uid := range uids {
		if uid == "" {
			u.Invalid(at.Index(i), uid, "must not be empty")
		} else if seen.Again(uid) {
			u.Duplicate(at.Index(i), uid)
		}
	}
}

// ends: a job completes or fails, never both.
func (u *statusUpdate) ends() {
	complete := u.has(batchv1.JobComplete)
	u.conditions(u.turned(batchv1.JobComplete, batchv1.JobFailed) && complete && u.has(batchv1.JobFailed),
		"cannot set Complete=True and Failed=true conditions")
	u.conditions(u.turned(batchv1.JobComplete, batchv1.JobFailureTarget) && complete && u.has(batchv1.JobFailureTarget),
		"cannot set Complete=True and FailureTarget=true conditions")
}

func (u *statusUpdate) times() {
	at, complete := statusPath.Child("completionTime"), u.has(batchv1.JobComplete)
	started, ended := u.is.StartTime, u.is.CompletionTime
	endChanged := !ptr.Equal(ended, u.was.CompletionTime)
	if u.turned(batchv1.JobComplete) || endChanged {
		switch {
		case ended != nil && !complete:
			u.Invalid(at, ended, "cannot set completionTime when there is no Complete=True condition")
		case ended == nil && complete:
			u.Required(at, "completionTime is required for Complete jobs")
		}
	}
	if (endChanged || !ptr.Equal(started, u.was.StartTime)) && started != nil && ended != nil && ended.Before(started) {
		u.Invalid(at, ended, "must be equal to or after `startTime`")
	}
	u.conditions((u.turned(batchv1.JobFailed) || u.failedIndexesChanged()) && u.has(batchv1.JobFailed) && !u.has(batchv1.JobFailureTarget),
		"cannot set Failed=True condition without the FailureTarget=true condition")
	u.conditions(u.turned(batchv1.JobComplete, batchv1.JobSuccessCriteriaMet) && complete && !u.has(batchv1.JobSuccessCriteriaMet),
		"cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
}

// over says that a job is done, and ending that it was not so before.
func over(j *batchv1.Job) bool { return jobIs(j, batchv1.JobComplete) || jobIs(j, batchv1.JobFailed) }

func (u *statusUpdate) ending() bool { return over(u.job) != over(u.old) }

// finished checks what a job that is over may still report.
func (u *statusUpdate) finished() {
	if !over(u.job) {
		return
	}
	if (u.ending() || u.is.Active != u.was.Active) && u.is.Active > 0 {
		u.Invalid(statusPath.Child("active"), u.is.Active, "active>0 is invalid for finished job")
	}
	never := ptr.Deref(u.job.Spec.Suspend, false) && ptr.Deref(u.job.Spec.Completions, -1) == 0
	if (u.ending() || !ptr.Equal(u.is.StartTime, u.was.StartTime)) && !never && u.is.StartTime == nil {
		u.Required(statusPath.Child("startTime"), "startTime is required for finished job")
	}
	p := u.is.UncountedTerminatedPods
	if (u.ending() || !equality.Semantic.DeepEqual(p, u.was.UncountedTerminatedPods)) && p != nil && len(p.Failed)+len(p.Succeeded) > 0 {
		u.Invalid(statusPath.Child("uncountedTerminatedPods"), p, "must be empty for finished job")
	}
}

func (u *statusUpdate) failedIndexesChanged() bool {
	return !ptr.Equal(u.is.FailedIndexes, u.was.FailedIndexes)
}

func (u *statusUpdate) indexes() {
	spec, completed, failed := &u.job.Spec, u.is.CompletedIndexes, u.is.FailedIndexes
	completedChanged, failedChanged := completed != u.was.CompletedIndexes, u.failedIndexesChanged()
	atCompleted, atFailed := statusPath.Child("completedIndexes"), statusPath.Child("failedIndexes")
	if completedChanged && spec.Completions != nil {
		if _, err := countIndexes(completed, *spec.Completions); err != nil {
			u.Invalid(atCompleted, completed, fmt.Sprintf("error parsing completedIndexes: %s", err))
		}
	}
	if failedChanged && spec.Completions != nil && spec.BackoffLimitPerIndex != nil && failed != nil {
		if _, err := countIndexes(*failed, *spec.Completions); err != nil {
			u.Invalid(atFailed, failed, fmt.Sprintf("error parsing failedIndexes: %s", err))
		}
	}
	if completedChanged && completed != "" && !isIndexed(spec) {
		u.Invalid(atCompleted, completed, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if failedChanged && spec.BackoffLimitPerIndex == nil && failed != nil {
		u.Invalid(atFailed, *failed, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	if (completedChanged || failedChanged) && spec.Completions != nil && failed != nil {
		if i, both := overlap(completed, *failed, *spec.Completions); both {
			u.Invalid(atFailed, *failed, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", i))
		}
	}
}

// overlap returns the first index that is in both lists of intervals. Intervals that are none were complained
// about already.
func overlap(a, b string, completions int32) (int32, bool) {
	for _, x := range strings.Split(a, ",") {
		from, to, err := interval(x, completions)
		if err != nil {
			continue
		}
		for _, y := range strings.Split(b, ",") {
			if start, end, err := interval(y, completions); err == nil && from <= end && start <= to {
				return max(from, start), true
			}
		}
	}
	return 0, false
}

func (u *statusUpdate) running() {
	ending := u.is.Terminating
	if (u.ending() || !ptr.Equal(ending, u.was.Terminating)) && over(u.job) && ptr.Deref(ending, 0) > 0 {
		u.Invalid(statusPath.Child("terminating"), ending, "terminating>0 is invalid for finished job")
	}
	ready := u.is.Ready
	if (!ptr.Equal(ready, u.was.Ready) || u.is.Active != u.was.Active) && ready != nil && *ready > u.is.Active {
		u.Invalid(statusPath.Child("ready"), *ready, "cannot set more ready pods than active")
	}
}

// success: a job that met its criteria can only complete.
func (u *statusUpdate) success() {
	met := u.has(batchv1.JobSuccessCriteriaMet)
	u.conditions(met && u.has(batchv1.JobFailed), "cannot set SuccessCriteriaMet=True and Failed=true conditions")
	u.conditions(met && u.has(batchv1.JobFailureTarget), "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
	u.conditions(u.job.Spec.SuccessPolicy != nil && !met && u.has(batchv1.JobComplete),
		"cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
}

// steps checks the way from the old status to the new one.
func (u *statusUpdate) steps() {
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		u.conditions(jobIs(u.old, t) && !u.has(t), fmt.Sprintf("cannot disable the terminal %s=True condition", t))
	}
	if u.is.Failed < u.was.Failed {
		u.Invalid(statusPath.Child("failed"), u.is.Failed, "cannot decrease the failed counter")
	}
	elastic := isIndexed(&u.job.Spec) && ptr.Equal(u.job.Spec.Completions, u.job.Spec.Parallelism) // may have been scaled down
	if !elastic && u.is.Succeeded < u.was.Succeeded {
		u.Invalid(statusPath.Child("succeeded"), u.is.Succeeded, "cannot decrease the succeeded counter")
	}
	if u.is.CompletionTime != nil && u.was.CompletionTime != nil && !ptr.Equal(u.is.CompletionTime, u.was.CompletionTime) {
		u.Invalid(statusPath.Child("completionTime"), u.is.CompletionTime, rule.Immutable)
	}
	started, suspended := u.is.StartTime, ptr.Deref(u.job.Spec.Suspend, false)
	if u.was.StartTime != nil && !ptr.Equal(u.was.StartTime, started) && !suspended && !u.resuming() {
		u.Invalid(statusPath.Child("startTime"), started, "field is immutable for unsuspended job once set")
	}
	u.conditions(jobIs(u.old, batchv1.JobSuccessCriteriaMet) && !u.has(batchv1.JobSuccessCriteriaMet),
		"cannot disable the SuccessCriteriaMet=True condition")
	u.conditions(jobIs(u.old, batchv1.JobComplete) && !jobIs(u.old, batchv1.JobSuccessCriteriaMet) && u.has(batchv1.JobSuccessCriteriaMet),
		"cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
}

// resuming says that the controller sees just now that the job is no longer suspended.
func (u *statusUpdate) resuming() bool {
	return jobIs(u.old, batchv1.JobSuspended) && jobIsNot(u.job, batchv1.JobSuspended)
}
