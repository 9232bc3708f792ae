package batch

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// maxCronJobName leaves room for what the controller adds to make a job's name.
const maxCronJobName = 52

func validateCronJob(c *batchv1.CronJob) field.ErrorList {
	f := &rule.Faults{}
	cronJobSpec(f, &c.Spec, nil)
	if len(c.Name) > maxCronJobName {
		f.Invalid(field.NewPath("metadata", "name"), c.Name, "must be no more than 52 characters")
	}
	return f.List
}

func validateCronJobUpdate(c, old *batchv1.CronJob) field.ErrorList {
	f := &rule.Faults{}
	cronJobSpec(f, &c.Spec, &old.Spec)
	return f.List
}

func cronJobSpec(f *rule.Faults, s, old *batchv1.CronJobSpec) {
	schedule(f, s, old, specPath.Child("schedule"))
	if d := s.StartingDeadlineSeconds; d != nil {
		f.AtLeastZero(specPath.Child("startingDeadlineSeconds"), *d)
	}
	if s.TimeZone != nil && (old == nil || old.TimeZone == nil || *old.TimeZone != *s.TimeZone) {
		timeZone(f, *s.TimeZone, specPath.Child("timeZone"))
	}
	rule.Choice(f, specPath.Child("concurrencyPolicy"), s.ConcurrencyPolicy, batchv1.AllowConcurrent, batchv1.ForbidConcurrent, batchv1.ReplaceConcurrent)
	var o podspec.Options
	if old != nil {
		o = podspec.OptionsFor(&old.JobTemplate.Spec.Template.Spec)
	}
	at, job := specPath.Child("jobTemplate", "spec"), &s.JobTemplate.Spec
	jobSpec(f, job, at, o)
	if job.Selector != nil {
		f.Invalid(at.Child("selector"), job.Selector, "`selector` will be auto-generated")
	}
	if job.ManualSelector != nil && *job.ManualSelector {
		f.Add(field.NotSupported(at.Child("manualSelector"), *job.ManualSelector, []string{"nil", "false"}))
	}
	f.AtLeastZeroIfSet(specPath.Child("successfulJobsHistoryLimit"), s.SuccessfulJobsHistoryLimit)
	f.AtLeastZeroIfSet(specPath.Child("failedJobsHistoryLimit"), s.FailedJobsHistoryLimit)
}

func schedule(f *rule.Faults, s, old *batchv1.CronJobSpec, at *field.Path) {
	if !f.Need(at, s.Schedule) {
		return
	}
	if err := parseSchedule(s.Schedule); err != nil {
		f.Invalid(at, s.Schedule, err.Error())
	}
	hadZone := old != nil && strings.Contains(old.Schedule, "TZ")
	switch zoned := strings.Contains(s.Schedule, "TZ"); {
	case zoned && hadZone && s.TimeZone != nil:
		f.Invalid(at, s.Schedule, "cannot use both timeZone field and TZ or CRON_TZ in schedule")
	case zoned && !hadZone:
		f.Invalid(at, s.Schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")
	}
}

// parseSchedule also turns a panic of the parser, which a time zone without fields causes, into an error.
func parseSchedule(text string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("invalid schedule format: %v", r)
		}
	}()
	if strings.TrimSpace(text) == "" {
		return errors.New("empty spec string")
	}
	_, err = cron.ParseStandard(text)
	return err
}

var zonePart = regexp.MustCompile(`^[A-Za-z\.\-_0-9+]{1,14}$`)

func timeZone(f *rule.Faults, name string, at *field.Path) {
	if name == "" {
		f.Invalid(at, name, "timeZone must be nil or non-empty string")
		return
	}
	for _, part := range strings.Split(name, "/") {
		if part == "." || part == ".." || strings.HasPrefix(part, "-") || !zonePart.MatchString(part) {
			f.Invalid(at, name, fmt.Sprintf("unknown time zone %s", name))
			return
		}
	}
	if strings.EqualFold(name, "Local") {
		f.Invalid(at, name, "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones")
	}
	if _, err := time.LoadLocation(name); err != nil {
		f.Invalid(at, name, err.Error())
	}
}
