package batch

import (
	"maps"
	"math"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// jobs describes Job.
func jobs() *catalogue.Resource {
	return catalogue.Describe[batchv1.Job, batchv1.JobList](catalogue.Kind[*batchv1.Job]{
		Resource:    api.Jobs.Resource,
		Default:     defaultJob,
		Categories:  []string{"all"},
		Spec:        catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }),
		Status:      catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobStatus { return &o.Status }),
		Generation:  catalogue.PartOf(func(o *batchv1.Job) *batchv1.JobSpec { return &o.Spec }),
		Propagation: metav1.DeletePropagationOrphan,
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
		j.Labels = maps.Clone(s.Template.Labels)
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
