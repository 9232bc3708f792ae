package rootca

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// What the process counts about namespaces that were looked at, under upstream's names.
var (
	syncs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "root_ca_cert_publisher_sync_total",
		Help: "Number of namespace syncs happened in root ca cert publisher.",
	}, []string{"code"})
	took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "root_ca_cert_publisher_sync_duration_seconds",
		Help:    "Number of namespace syncs happened in root ca cert publisher.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	}, []string{"code"})
)

// Collectors are what the process counts about root certificates.
func Collectors() []prometheus.Collector { return []prometheus.Collector{syncs, took} }

// synced counts a namespace by the HTTP code that the error comes to.
func synced(err error, lasted time.Duration) {
	code := "200"
	var status apierrors.APIStatus
	switch {
	case errors.As(err, &status):
		code = strconv.Itoa(int(status.Status().Code))
	case err != nil:
		code = "500"
	}
	syncs.WithLabelValues(code).Inc()
	took.WithLabelValues(code).Observe(lasted.Seconds())
}
