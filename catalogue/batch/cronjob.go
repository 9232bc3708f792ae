package batch

import (
	batchv1 "k8s.io/api/batch/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
)

// cronJobs describes CronJob.
func cronJobs() *catalogue.Resource {
	return catalogue.Describe[batchv1.CronJob, batchv1.CronJobList](catalogue.Kind[*batchv1.CronJob]{
		Resource:   api.CronJobs.Resource,
		Default:    defaultCronJob,
		ShortNames: []string{"cj"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *batchv1.CronJob) *batchv1.CronJobSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *batchv1.CronJob) *batchv1.CronJobStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *batchv1.CronJob) *batchv1.CronJobSpec { return &o.Spec }),
	})
}

func defaultCronJob(c *batchv1.CronJob) {
	s := &c.Spec
	rule.SetIfEmpty(&s.ConcurrencyPolicy, batchv1.AllowConcurrent)
	rule.SetIfNil(&s.Suspend, false)
	rule.SetIfNil(&s.SuccessfulJobsHistoryLimit, 3)
	rule.SetIfNil(&s.FailedJobsHistoryLimit, 1)
	defaultJobSpec(&s.JobTemplate.Spec)
}
