package cronjob

import "github.com/prometheus/client_golang/prometheus"

// skew is how late jobs are made, under upstream's name.
var skew = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name:    "cronjob_controller_job_creation_skew_duration_seconds",
	Help:    "Time between when a cronjob is scheduled to be run, and when the corresponding job is created",
	Buckets: prometheus.ExponentialBuckets(1, 2, 10),
})

// Collectors are what the process counts about cron jobs.
func Collectors() []prometheus.Collector { return []prometheus.Collector{skew} }
