package job

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// What the controller counts, under upstream's names.
var (
	syncs        = counter("job_syncs_total", "The number of job syncs", "completion_mode", "result", "action")
	finishedJobs = counter("jobs_finished_total", "The number of finished jobs", "completion_mode", "result", "reason")
	finishedPods = counter("job_pods_finished_total", "The number of finished Pods that are fully tracked", "completion_mode", "result")
	syncTimes    = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "job_controller_job_sync_duration_seconds", Help: "The time it took to sync a job",
		Buckets: prometheus.ExponentialBuckets(0.004, 2, 15),
	}, []string{"completion_mode", "result", "action"})
)

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "job_controller_" + name, Help: help}, labels)
}

// Collectors are what the process counts about jobs.
func Collectors() []prometheus.Collector {
	return []prometheus.Collector{syncs, finishedJobs, finishedPods, syncTimes}
}

// Words that upstream's labels are made of.
const (
	podsCreated = "pods_created"
	podsDeleted = "pods_deleted"
	tracking    = "tracking" // neither

	resultSucceeded = "succeeded"
	resultFailed    = "failed"
)

// action names what p does to pods.
func (p *Plan) action() string {
	switch {
	case len(p.Delete) > 0:
		return podsDeleted
	case len(p.Create) > 0:
		return podsCreated
	}
	return tracking
}

func mode(j *batchv1.Job) string {
	if m := j.Spec.CompletionMode; m != nil {
		return string(*m)
	}
	return string(batchv1.NonIndexedCompletion)
}

// synced counts a look at a job.
func synced(j *batchv1.Job, action string, took time.Duration, err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	syncs.WithLabelValues(mode(j), result, action).Inc()
	syncTimes.WithLabelValues(mode(j), result, action).Observe(took.Seconds())
}

// progressed counts what a job's new status says that its old one did not.
func progressed(j *batchv1.Job, now *batchv1.JobStatus) {
	was := &j.Status
	finishedPods.WithLabelValues(mode(j), resultSucceeded).Add(float64(max(0, now.Succeeded-was.Succeeded)))
	finishedPods.WithLabelValues(mode(j), resultFailed).Add(float64(max(0, now.Failed-was.Failed)))
	if finished(was) {
		return
	}
	for _, c := range now.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobComplete:
			finishedJobs.WithLabelValues(mode(j), resultSucceeded, c.Reason).Inc()
		case c.Type == batchv1.JobFailed:
			finishedJobs.WithLabelValues(mode(j), resultFailed, c.Reason).Inc()
		}
	}
}
