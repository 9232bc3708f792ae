package cronjob

import (
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

var noon = time.Date(2026, 3, 10, 12, 0, 30, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

func cronJob(schedule string) *batchv1.CronJob {
	cj := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", CreationTimestamp: metav1.NewTime(noon.Add(-90 * time.Second))}}
	cj.Spec.Schedule = schedule
	cj.Spec.JobTemplate.Spec.Template = controllertest.Template("c")
	cj.Spec.JobTemplate.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	return cj
}

func job(name string, how batchv1.JobConditionType) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name}}
	j.UID = types.UID("uid-" + name)
	if how != "" {
		j.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue}}
	}
	return j
}

func TestWhen(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*batchv1.CronJob)
		want   string // name of the job started; "" for none
		events string
	}{
		{"due", func(*batchv1.CronJob) {}, fmt.Sprint("c-", noon.Unix()/60), ""},
		{"done for this minute", func(c *batchv1.CronJob) { c.Status.LastScheduleTime = ptr(metav1.NewTime(noon.Truncate(time.Minute))) }, "", ""},
		{"suspended", func(c *batchv1.CronJob) { c.Spec.Suspend = ptr(true) }, "", ""},
		{"not yet", func(c *batchv1.CronJob) { c.Spec.Schedule = "0 13 * * *" }, "", ""},
		{"too late", func(c *batchv1.CronJob) { c.Spec.StartingDeadlineSeconds = ptr(int64(10)) }, "", ""},
		{"forbidden", func(c *batchv1.CronJob) {
			c.Spec.ConcurrencyPolicy = batchv1.ForbidConcurrent
			c.Status.Active = []corev1.ObjectReference{{Name: "old", UID: "old"}}
		}, "", "JobAlreadyActive"},
		{"in its time zone", func(c *batchv1.CronJob) {
			c.Spec.Schedule, c.Spec.TimeZone = "0 13 * * *", ptr("Europe/Berlin")
		}, fmt.Sprint("c-", noon.Unix()/60), ""},
		{"unknown time zone", func(c *batchv1.CronJob) { c.Spec.TimeZone = ptr("Nowhere") }, "", "UnparseableSchedule"},
		{"after a long stop", func(c *batchv1.CronJob) { c.CreationTimestamp = metav1.NewTime(noon.AddDate(-1, 0, 0)) }, fmt.Sprint("c-", noon.Unix()/60), "TooManyMissedTimes"},
		{"malformed", func(c *batchv1.CronJob) { c.Spec.Schedule = "every day" }, "", "UnparseableSchedule"},
	} {
		cj := cronJob("* * * * *")
		tc.change(cj)
		old := job("old", "")
		old.UID = "old"
		p := plan(cj, []*batchv1.Job{old}, noon)
		name := ""
		if p.Start != nil {
			name = p.Start.Name
		}
		var reasons []string
		for _, e := range p.Events {
			if e.reason != "UnexpectedJob" {
				reasons = append(reasons, e.reason)
			}
		}
		if name != tc.want || strings.Join(reasons, " ") != tc.events {
			t.Errorf("%s: started %q, events %v", tc.name, name, reasons)
		}
	}
}

func TestReplaceAndHistory(t *testing.T) {
	cj := cronJob("* * * * *")
	cj.Spec.ConcurrencyPolicy = batchv1.ReplaceConcurrent
	cj.Spec.SuccessfulJobsHistoryLimit, cj.Spec.FailedJobsHistoryLimit = ptr(int32(1)), ptr(int32(0))
	old := job("old", "")
	old.UID = "old"
	cj.Status.Active = []corev1.ObjectReference{{Name: "old", UID: "old"}, {Name: "vanished", UID: "v"}}
	jobs := []*batchv1.Job{old, job("done-1", batchv1.JobComplete), job("done-2", batchv1.JobComplete), job("bad", batchv1.JobFailed)}
	jobs[1].Status.StartTime = ptr(metav1.NewTime(noon.Add(-2 * time.Hour)))
	jobs[2].Status.StartTime = ptr(metav1.NewTime(noon.Add(-time.Hour)))
	p := plan(cj, jobs, noon)
	if len(p.Stop) != 1 || p.Stop[0] != old || p.Start == nil {
		t.Errorf("stops %v, starts %v", p.Stop, p.Start)
	}
	if len(p.Delete) != 2 || p.Delete[0].Name != "done-1" || p.Delete[1].Name != "bad" {
		t.Errorf("deletes %v", p.Delete)
	}
	if len(p.Status.Active) != 1 || p.Events[len(p.Events)-1].reason != "MissingJob" {
		t.Errorf("active %v, events %v", p.Status.Active, p.Events)
	}
	if p.Again != 30*time.Second+100*time.Millisecond {
		t.Errorf("again in %s", p.Again)
	}
}

func TestAgainstTheAPI(t *testing.T) {
	c := inprocesstest.New(t)
	events := &controllertest.Events{}
	ctl := New(c, events)
	cj, err := api.CronJobs.Create(t.Context(), c, cronJob("* * * * *"))
	if err != nil {
		t.Fatal(err)
	}
	clock := cj.CreationTimestamp.Add(61 * time.Second)
	ctl.now = func() time.Time { return clock }
	sync := func() *batchv1.CronJob {
		t.Helper()
		if err := ctl.sync(t.Context(), owner.KeyOf(cj)); err != nil {
			t.Fatal(err)
		}
		now, _ := api.CronJobs.View(c).Get("default", "c")
		return now
	}
	now := sync()
	jobs := api.Jobs.View(c).List("default")
	if len(jobs) != 1 || len(now.Status.Active) != 1 || now.Status.LastScheduleTime == nil || !events.Contains("Normal SuccessfulCreate Created job "+jobs[0].Name) {
		t.Fatalf("jobs %v, status %+v", jobs, now.Status)
	}
	if sync(); len(api.Jobs.View(c).List("default")) != 1 {
		t.Error("a second job for the same minute")
	}
	// A crash before the status was written: the job is found again, not made twice.
	lost := now.DeepCopy()
	lost.ResourceVersion = ""
	lost.Status = batchv1.CronJobStatus{}
	if _, err := api.CronJobs.UpdateStatus(t.Context(), c, lost); err != nil {
		t.Fatal(err)
	}
	if now = sync(); len(api.Jobs.View(c).List("default")) != 1 || len(now.Status.Active) != 1 {
		t.Errorf("status %+v", now.Status)
	}
}
