package batch

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// jobs describes Job.
func jobs() *catalogue.Resource {
	return catalogue.Describe[batchv1.Job, batchv1.JobList](catalogue.Kind[*batchv1.Job]{
		Resource: api.Jobs.Resource,
		Warnings: func(j, old *batchv1.Job) []string {
			return jobWarnings(&j.ObjectMeta, podspec.MetaOf(old), &j.Spec, specPath)
		},
		ValidateCreate: validateJob,
		Metadata:       catalogue.WholeThenChanges,
		ValidateUpdate: validateJobUpdate,
		ValidateStatus: validateJobStatus,
		PrepareCreate:  prepareJob,
		PrepareUpdate:  func(j, old *batchv1.Job) { podspec.DropDisabledTemplate(&j.Spec.Template, &old.Spec.Template) },
		Columns:        jobColumns,
		Row:            jobRow,
		Default:        defaultJob,
		Categories:     []string{"all"},
		Spec:           catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }),
		Status:         catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobStatus { return &o.Status }),
		Generation:     catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }),
		Propagation:    metav1.DeletePropagationOrphan,
		Fields: map[string]func(*batchv1.Job) string{
			"status.successful": func(o *batchv1.Job) string { return strconv.Itoa(int(o.Status.Succeeded)) },
		},
	})
}

func defaultJob(j *batchv1.Job) {
	s := &j.Spec
	if s.Completions == nil && s.Parallelism == nil {
		rule.SetIfNil(&s.Completions, 1)
	}
	rule.SetIfNil(&s.Parallelism, 1)
	if s.BackoffLimitPerIndex != nil {
		rule.SetIfNil(&s.BackoffLimit, math.MaxInt32)
	}
	rule.SetIfNil(&s.BackoffLimit, 6)
	if len(j.Labels) == 0 && s.Template.Labels != nil {
		j.Labels = s.Template.Labels // the same map, on purpose: what prepareJob adds shows in both
	}
	if s.PodFailurePolicy != nil {
		rule.SetIfNil(&s.PodReplacementPolicy, batchv1.Failed)
	}
	rule.SetIfNil(&s.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	rule.SetIfNil(&s.ManualSelector, false)
	defaultJobSpec(s)
	rule.SetIfNil(&s.CompletionMode, batchv1.NonIndexedCompletion)
	rule.SetIfNil(&s.Suspend, false)
}

// defaultJobSpec fills in what a job and a cron job's template have in common.
func defaultJobSpec(s *batchv1.JobSpec) {
	podspec.DefaultTemplate(&s.Template)
	if s.PodFailurePolicy == nil {
		return
	}
	for i := range s.PodFailurePolicy.Rules {
		patterns := s.PodFailurePolicy.Rules[i].OnPodConditions
		for j := range patterns {
			rule.SetIfEmpty(&patterns[j].Status, corev1.ConditionTrue)
		}
	}
}

var jobColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Status", "Status of the job."),
	table.String("Completions", table.Doc(batchv1.JobStatus{}, "succeeded")),
	table.String("Duration", "Time required to complete the job."),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Selector", table.Doc(batchv1.JobSpec{}, "selector")),
))

func jobRow(j *batchv1.Job, now time.Time) []any {
	containers := j.Spec.Template.Spec.Containers
	return []any{
		j.Name, jobState(j), completions(j), took(j, now), table.Since(j.CreationTimestamp, now),
		podspec.Names(containers), podspec.Images(containers), table.Selector(j.Spec.Selector),
	}
}

func completions(j *batchv1.Job) string {
	switch {
	case j.Spec.Completions != nil:
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	case j.Spec.Parallelism != nil && *j.Spec.Parallelism > 1:
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, *j.Spec.Parallelism)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func took(j *batchv1.Job, now time.Time) string {
	if j.Status.StartTime == nil {
		return ""
	}
	end := now
	if j.Status.CompletionTime != nil {
		end = j.Status.CompletionTime.Time
	}
	return duration.HumanDuration(end.Sub(j.Status.StartTime.Time))
}

func jobState(j *batchv1.Job) string {
	switch {
	case jobIs(j, batchv1.JobComplete):
		return "Complete"
	case jobIs(j, batchv1.JobFailed):
		return "Failed"
	case j.DeletionTimestamp != nil:
		return "Terminating"
	case jobIs(j, batchv1.JobSuspended):
		return "Suspended"
	case jobIs(j, batchv1.JobFailureTarget):
		return "FailureTarget"
	case jobIs(j, batchv1.JobSuccessCriteriaMet):
		return "SuccessCriteriaMet"
	}
	return "Running"
}

func jobIs(j *batchv1.Job, condition batchv1.JobConditionType) bool {
	return hasCondition(j, condition, corev1.ConditionTrue)
}

// jobIsNot says that a condition is there and false.
func jobIsNot(j *batchv1.Job, condition batchv1.JobConditionType) bool {
	return hasCondition(j, condition, corev1.ConditionFalse)
}

func hasCondition(j *batchv1.Job, condition batchv1.JobConditionType, status corev1.ConditionStatus) bool {
	return slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == condition && c.Status == status
	})
}

// Labels that tie pods to their job, in the form of today and in the one before.
const (
	oldJobName       = "job-name"
	oldControllerUID = "controller-uid"
)

// prepareJob makes the selector and the labels it selects, unless the user manages them. The UID is
// already there: the pipeline gives it before this runs.
func prepareJob(j *batchv1.Job) {
	podspec.DropDisabledTemplate(&j.Spec.Template, nil)
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	if j.Spec.Template.Labels == nil {
		j.Spec.Template.Labels = map[string]string{}
	}
	for key, value := range map[string]string{
		oldJobName: j.Name, batchv1.JobNameLabel: j.Name,
		oldControllerUID: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	} {
		if _, ok := j.Spec.Template.Labels[key]; !ok { // validation refuses a value that differs
			j.Spec.Template.Labels[key] = value
		}
	}
	rule.SetIfNil(&j.Spec.Selector, metav1.LabelSelector{})
	if j.Spec.Selector.MatchLabels == nil {
		j.Spec.Selector.MatchLabels = map[string]string{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
	if len(j.Labels) == 0 { // a job without labels has those of its pods, which it did not have when defaulted
		j.Labels = maps.Clone(j.Spec.Template.Labels)
	}
}

// jobWarnings are what to say of a job or of the jobs to be made of a template; old is nil on create.
func jobWarnings(meta, old *metav1.ObjectMeta, s *batchv1.JobSpec, at *field.Path) []string {
	if old != nil && old.Generation == meta.Generation {
		return nil
	}
	n := &rule.Notes{}
	if old == nil {
		n.PodNames(meta.Name)
	}
	if ptr.Deref(s.CompletionMode, "") == batchv1.IndexedCompletion &&
		ptr.Deref(s.Completions, 0) > manyCompletions && ptr.Deref(s.Parallelism, 0) > manyParallelism {
		n.At(at, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, "+
			"Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	return append(n.List, podspec.TemplateWarnings(&s.Template, at.Child("template"))...)
}
