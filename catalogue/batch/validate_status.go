package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

func validateJobStatus(j, old *batchv1.Job) field.ErrorList {
	f, s := &rule.Faults{}, &j.Status
	f.AtLeastZero(statusPath.Child("active"), int64(s.Active))
	f.AtLeastZero(statusPath.Child("succeeded"), int64(s.Succeeded))
	f.AtLeastZero(statusPath.Child("failed"), int64(s.Failed))
	f.AtLeastZeroIfSet(statusPath.Child("ready"), s.Ready)
	f.AtLeastZeroIfSet(statusPath.Child("terminating"), s.Terminating)
	if u := s.UncountedTerminatedPods; u != nil {
		seen := rule.Seen[types.UID]{}
		uncounted(f, u.Succeeded, seen, statusPath.Child("uncountedTerminatedPods", "succeeded"))
		uncounted(f, u.Failed, seen, statusPath.Child("uncountedTerminatedPods", "failed"))
	}
	jobConditions(f, j, old)
	jobTimes(f, j, old)
	finished(f, j, old)
	return f.List
}

func uncounted(f *rule.Faults, uids []types.UID, seen rule.Seen[types.UID], at *field.Path) {
	for i, uid := range uids {
		if uid == "" {
			f.Invalid(at.Index(i), uid, "must not be empty")
		} else if seen.Again(uid) {
			f.Duplicate(at.Index(i), uid)
		}
	}
}

// jobConditions: a job completes or fails, once, and says first that it is about to.
func jobConditions(f *rule.Faults, j, old *batchv1.Job) {
	is := func(t batchv1.JobConditionType) bool { return jobIs(j, t) }
	wrong := func(text string) { f.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, text) }
	complete, failed := is(batchv1.JobComplete), is(batchv1.JobFailed)
	target, met := is(batchv1.JobFailureTarget), is(batchv1.JobSuccessCriteriaMet)
	for _, c := range []struct {
		broken bool
		text   string
	}{
		{complete && failed, "cannot set Complete=True and Failed=true conditions"},
		{complete && target, "cannot set Complete=True and FailureTarget=true conditions"},
		{failed && !target && !jobIs(old, batchv1.JobFailed), "cannot set Failed=True condition without the FailureTarget=true condition"},
		{complete && !met && !jobIs(old, batchv1.JobComplete), "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
		{jobIs(old, batchv1.JobSuccessCriteriaMet) && !met, "cannot disable the SuccessCriteriaMet=True condition"},
		{jobIs(old, batchv1.JobComplete) && !jobIs(old, batchv1.JobSuccessCriteriaMet) && met, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"},
	} {
		if c.broken {
			wrong(c.text)
		}
	}
	for _, t := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if jobIs(old, t) && !is(t) {
			wrong(fmt.Sprintf("cannot disable the terminal %s=True condition", t))
		}
	}
}

func jobTimes(f *rule.Faults, j, old *batchv1.Job) {
	s, was := &j.Status, &old.Status
	at := statusPath.Child("completionTime")
	complete := jobIs(j, batchv1.JobComplete)
	switch {
	case s.CompletionTime != nil && !complete:
		f.Invalid(at, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition")
	case s.CompletionTime == nil && complete && !jobIs(old, batchv1.JobComplete):
		f.Required(at, "completionTime is required for Complete jobs")
	}
	if s.StartTime != nil && s.CompletionTime != nil && s.CompletionTime.Before(s.StartTime) {
		f.Invalid(at, s.CompletionTime, "must be equal to or after `startTime`")
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && !s.CompletionTime.Equal(was.CompletionTime) {
		f.Invalid(at, s.CompletionTime, rule.Immutable)
	}
	suspended := j.Spec.Suspend != nil && *j.Spec.Suspend
	if was.StartTime != nil && !was.StartTime.Equal(s.StartTime) && !suspended {
		f.Invalid(statusPath.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set")
	}
}

// finished checks what a job that is over, or is becoming so, may still report.
func finished(f *rule.Faults, j, old *batchv1.Job) {
	s, was := &j.Status, &old.Status
	if s.Failed < was.Failed {
		f.Invalid(statusPath.Child("failed"), s.Failed, "cannot decrease the failed counter")
	}
	if s.Succeeded < was.Succeeded {
		f.Invalid(statusPath.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter")
	}
	if s.Ready != nil && *s.Ready > s.Active {
		f.Invalid(statusPath.Child("ready"), *s.Ready, "cannot set more ready pods than active")
	}
	if s.CompletedIndexes != "" && !isIndexed(&j.Spec) {
		f.Invalid(statusPath.Child("completedIndexes"), s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode")
	}
	if c := j.Spec.Completions; c != nil {
		if _, err := countIndexes(s.CompletedIndexes, *c); err != nil && s.CompletedIndexes != was.CompletedIndexes {
			f.Invalid(statusPath.Child("completedIndexes"), s.CompletedIndexes, fmt.Sprintf("error parsing completedIndexes: %s", err))
		}
	}
	if s.FailedIndexes != nil && j.Spec.BackoffLimitPerIndex == nil {
		f.Invalid(statusPath.Child("failedIndexes"), *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null")
	}
	over := func(j *batchv1.Job) bool { return jobIs(j, batchv1.JobComplete) || jobIs(j, batchv1.JobFailed) }
	if !over(j) || over(old) {
		return
	}
	if s.Active > 0 {
		f.Invalid(statusPath.Child("active"), s.Active, "active>0 is invalid for finished job")
	}
	if s.StartTime == nil {
		f.Required(statusPath.Child("startTime"), "startTime is required for finished job")
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		f.Invalid(statusPath.Child("uncountedTerminatedPods"), u, "must be empty for finished job")
	}
	if s.Terminating != nil && *s.Terminating > 0 {
		f.Invalid(statusPath.Child("terminating"), s.Terminating, "terminating>0 is invalid for finished job")
	}
}
