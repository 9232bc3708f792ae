package batch

import (
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// cronJobs describes CronJob.
func cronJobs() *catalogue.Resource {
	return catalogue.Describe[batchv1.CronJob, batchv1.CronJobList](catalogue.Kind[*batchv1.CronJob]{
		Resource:       api.CronJobs.Resource,
		Warnings:       cronJobWarnings,
		ValidateCreate: validateCronJob,
		ValidateUpdate: validateCronJobUpdate,
		PrepareCreate:  func(o *batchv1.CronJob) { podspec.DropDisabledTemplate(&o.Spec.JobTemplate.Spec.Template, nil) },
		PrepareUpdate: func(o, old *batchv1.CronJob) {
			podspec.DropDisabledTemplate(&o.Spec.JobTemplate.Spec.Template, &old.Spec.JobTemplate.Spec.Template)
		},
		Columns:    cronJobColumns,
		Row:        cronJobRow,
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

var cronJobColumns = slices.Concat([]table.Column{
	table.Name,
	table.String("Schedule", table.Doc(batchv1.CronJobSpec{}, "schedule")),
	table.String("Timezone", table.Doc(batchv1.CronJobSpec{}, "timeZone")),
	table.Boolean("Suspend", table.Doc(batchv1.CronJobSpec{}, "suspend")),
	table.Integer("Active", table.Doc(batchv1.CronJobStatus{}, "active")),
	table.String("Last Schedule", table.Doc(batchv1.CronJobStatus{}, "lastScheduleTime")),
	table.Age,
}, table.Wide(
	podspec.ContainersColumn,
	podspec.ImagesColumn,
	table.String("Selector", table.Doc(batchv1.JobSpec{}, "selector")),
))

func cronJobRow(c *batchv1.CronJob, now time.Time) []any {
	last := table.None
	if c.Status.LastScheduleTime != nil {
		last = table.Since(*c.Status.LastScheduleTime, now)
	}
	suspended := table.Unset
	if c.Spec.Suspend != nil {
		suspended = "False"
		if *c.Spec.Suspend {
			suspended = "True"
		}
	}
	job := c.Spec.JobTemplate.Spec
	return []any{
		c.Name, c.Spec.Schedule, table.OrNone(c.Spec.TimeZone), suspended, int64(len(c.Status.Active)), last,
		table.Since(c.CreationTimestamp, now),
		podspec.Names(job.Template.Spec.Containers), podspec.Images(job.Template.Spec.Containers), table.Selector(job.Selector),
	}
}

func cronJobWarnings(c, old *batchv1.CronJob) []string {
	out := jobWarnings(&c.ObjectMeta, podspec.MetaOf(old), &c.Spec.JobTemplate.Spec, specPath.Child("jobTemplate", "spec"))
	if old != nil && strings.Contains(c.Spec.Schedule, "TZ") {
		out = append(out, "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details")
	}
	return out
}
