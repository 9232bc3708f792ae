package cronjob

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
)

// A Plan is what one look at a CronJob leads to.
type Plan struct {
	Start  *batchv1.Job
	Stop   []*batchv1.Job // that run and are replaced
	Delete []*batchv1.Job // finished ones beyond the history limits
	Status batchv1.CronJobStatus
	Events []event
	Again  time.Duration // until the next time of the schedule; 0: there is none
}

type event struct{ kind, reason, message string }

func (p *Plan) say(kind, reason, format string, args ...any) {
	p.Events = append(p.Events, event{kind, reason, fmt.Sprintf(format, args...)})
}

// plan decides at the time now. jobs are those that cj controls.
func plan(cj *batchv1.CronJob, jobs []*batchv1.Job, now time.Time) Plan {
	p := Plan{Status: *cj.Status.DeepCopy()}
	p.follow(cj, jobs)
	p.Delete = append(history(jobs, batchv1.JobComplete, cj.Spec.SuccessfulJobsHistoryLimit), history(jobs, batchv1.JobFailed, cj.Spec.FailedJobsHistoryLimit)...)
	if cj.DeletionTimestamp != nil || cj.Spec.Suspend != nil && *cj.Spec.Suspend {
		return p
	}
	schedule, err := parse(cj)
	if err != nil {
		p.say(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", cj.Spec.Schedule, err)
		return p
	}
	if next := schedule.Next(now); !next.IsZero() {
		p.Again = next.Sub(now) + 100*time.Millisecond // just after, whatever the clock's grain
	}
	if due := p.due(cj, schedule, now); !due.IsZero() {
		p.start(cj, jobs, due, now)
	}
	return p
}

// parse reads the schedule in its time zone.
func parse(cj *batchv1.CronJob) (cron.Schedule, error) {
	text := cj.Spec.Schedule
	if cj.Spec.TimeZone != nil && !strings.Contains(text, "TZ") {
		if _, err := time.LoadLocation(*cj.Spec.TimeZone); err != nil {
			return nil, err
		}
		text = "TZ=" + *cj.Spec.TimeZone + " " + text
	}
	return cron.ParseStandard(text)
}

func ended(j *batchv1.Job) batchv1.JobConditionType {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

// follow brings the list of active jobs up to date.
func (p *Plan) follow(cj *batchv1.CronJob, jobs []*batchv1.Job) {
	listed := func(j *batchv1.Job) bool {
		return slices.ContainsFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == j.UID })
	}
	for _, j := range jobs {
		how := ended(j)
		switch {
		case how == "" && !listed(j):
			p.say(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
		case how != "" && listed(j):
			p.drop(j)
			p.say(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, how)
		}
		if how == batchv1.JobComplete && j.Status.CompletionTime != nil &&
			(p.Status.LastSuccessfulTime == nil || p.Status.LastSuccessfulTime.Before(j.Status.CompletionTime)) {
			p.Status.LastSuccessfulTime = j.Status.CompletionTime
		}
	}
	for _, ref := range slices.Clone(p.Status.Active) {
		if !slices.ContainsFunc(jobs, func(j *batchv1.Job) bool { return j.UID == ref.UID }) {
			p.say(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", ref.Name)
			p.Status.Active = slices.DeleteFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == ref.UID })
		}
	}
}

func (p *Plan) drop(j *batchv1.Job) {
	p.Status.Active = slices.DeleteFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == j.UID })
}

// history returns the oldest jobs that ended so, beyond the limit.
func history(jobs []*batchv1.Job, how batchv1.JobConditionType, limit *int32) []*batchv1.Job {
	if limit == nil {
		return nil
	}
	var all []*batchv1.Job
	for _, j := range jobs {
		if ended(j) == how {
			all = append(all, j)
		}
	}
	slices.SortStableFunc(all, func(a, b *batchv1.Job) int { return started(a).Compare(started(b)) })
	return all[:max(0, len(all)-int(*limit))]
}

func started(j *batchv1.Job) time.Time {
	if j.Status.StartTime == nil {
		return j.CreationTimestamp.Time
	}
	return j.Status.StartTime.Time
}

// due returns the latest time of the schedule that has passed without a job; zero if there is none.
func (p *Plan) due(cj *batchv1.CronJob, schedule cron.Schedule, now time.Time) time.Time {
	from := cj.CreationTimestamp.Time
	if cj.Status.LastScheduleTime != nil {
		from = cj.Status.LastScheduleTime.Time
	}
	if d := cj.Spec.StartingDeadlineSeconds; d != nil {
		if earliest := now.Add(-time.Duration(*d) * time.Second); earliest.After(from) {
			from = earliest
		}
	}
	var latest time.Time
	missed := 0
	for t := schedule.Next(from); !t.IsZero() && !t.After(now); t = schedule.Next(t) {
		latest = t
		if missed++; missed > 100 {
			// Counting on could take for ever after a long stop; skip to just before now.
			p.say(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
			return lastBefore(schedule, latest, now)
		}
	}
	return latest
}

// lastBefore finds the schedule's last time up to now by halving the gap.
func lastBefore(schedule cron.Schedule, known, now time.Time) time.Time {
	lo, hi := known, now
	for hi.Sub(lo) > time.Second {
		mid := lo.Add(hi.Sub(lo) / 2)
		if t := schedule.Next(mid); !t.IsZero() && !t.After(now) {
			lo, known = t, t
		} else {
			hi = mid
		}
	}
	return known
}

// start makes the job of a scheduled time, as the concurrency policy allows.
func (p *Plan) start(cj *batchv1.CronJob, jobs []*batchv1.Job, due, now time.Time) {
	if d := cj.Spec.StartingDeadlineSeconds; d != nil && due.Add(time.Duration(*d)*time.Second).Before(now) {
		p.say(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", due.UTC().Format(time.RFC1123Z))
		return
	}
	j := newJob(cj, due)
	if slices.ContainsFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.Name == j.Name }) {
		return
	}
	if cj.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(p.Status.Active) > 0 {
		p.say(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return
	}
	if cj.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		for _, old := range jobs {
			if slices.ContainsFunc(p.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == old.UID }) {
				p.Stop = append(p.Stop, old)
			}
		}
	}
	p.Start = j
}

// newJob makes the job of a scheduled time. Its name is the same however often it is tried.
func newJob(cj *batchv1.CronJob, due time.Time) *batchv1.Job {
	t := cj.Spec.JobTemplate.DeepCopy()
	j := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cj.Namespace, Name: fmt.Sprintf("%s-%d", cj.Name, due.Unix()/60),
			Labels: t.Labels, Annotations: t.Annotations,
			OwnerReferences: []metav1.OwnerReference{*owner.Ref(cj, api.CronJobs.Resource)},
		},
		Spec: t.Spec,
	}
	zone := time.UTC
	if cj.Spec.TimeZone != nil {
		if z, err := time.LoadLocation(*cj.Spec.TimeZone); err == nil {
			zone = z
		}
	}
	metav1.SetMetaDataAnnotation(&j.ObjectMeta, batchv1.CronJobScheduledTimestampAnnotation, due.In(zone).Format(time.RFC3339))
	return j
}
