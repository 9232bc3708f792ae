package batch

import (
	batchv1 "k8s.io/api/batch/v1"

	"clipper/api"
	"clipper/catalogue"
)

// cronJobs describes CronJob.
func cronJobs() *catalogue.Resource {
	return catalogue.Describe[batchv1.CronJob, batchv1.CronJobList](catalogue.Kind[*batchv1.CronJob]{
		Resource:   api.CronJobs.Resource,
		ShortNames: []string{"cj"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *batchv1.CronJob) *batchv1.CronJobSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *batchv1.CronJob) *batchv1.CronJobStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *batchv1.CronJob) *batchv1.CronJobSpec { return &o.Spec }),
	})
}
