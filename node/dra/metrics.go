package dra

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// metrics count under upstream's names.
type metrics struct {
	operations *prometheus.HistogramVec
	calls      *prometheus.HistogramVec
}

// buckets are upstream's.
var buckets = prometheus.ExponentialBucketsRange(.1, 40, 15)

func newMetrics() metrics {
	return metrics{
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dra_operations_duration_seconds", Buckets: buckets,
			Help: "[ALPHA] Latency histogram in seconds for the duration of handling all ResourceClaims referenced by a pod when the pod starts or stops. Identified by the name of the operation (PrepareResources or UnprepareResources) and separated by the success of the operation. The number of failed operations is provided through the histogram's overall count."},
			[]string{"operation_name", "is_error"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dra_grpc_operations_duration_seconds", Buckets: buckets,
			Help: "[ALPHA] Duration in seconds of the DRA gRPC operations"}, []string{"driver_name", "method_name", "grpc_status_code"}),
	}
}

// Collectors returns what a registry takes.
func (m *Manager) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.metrics.operations, m.metrics.calls, inUse{m}}
}

// timed counts an operation.
func (m metrics) timed(name string, began time.Time, err error) {
	m.operations.WithLabelValues(name, strconv.FormatBool(err != nil)).Observe(time.Since(began).Seconds())
}

// count counts the calls of a driver.
func (m metrics) count(driver string) grpc.DialOption {
	return grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		began := time.Now()
		err := invoke(ctx, method, req, reply, conn, opts...)
		m.calls.WithLabelValues(driver, method, status.Code(err).String()).Observe(time.Since(began).Seconds())
		return err
	})
}

// inUse tells how many claims are prepared.
type inUse struct{ m *Manager }

var inUseDesc = prometheus.NewDesc("dra_resource_claims_in_use", "[ALPHA] The number of ResourceClaims that are currently in use on the node, by driver name (driver_name label value) and across all drivers (special value <any> for driver_name). Note that the sum of all by-driver counts is not the total number of in-use ResourceClaims because the same ResourceClaim might use devices from different drivers. Instead, use the count for the <any> driver_name.", []string{"driver_name"}, nil)

func (inUse) Describe(ch chan<- *prometheus.Desc) { ch <- inUseDesc }

func (u inUse) Collect(ch chan<- prometheus.Metric) {
	u.m.mu.Lock()
	counts := map[string]int{"<any>": 0}
	for _, c := range u.m.claims {
		if !c.prepared {
			continue
		}
		counts["<any>"]++
		for driver := range c.DriverState {
			counts[driver]++
		}
	}
	u.m.mu.Unlock()
	for driver, n := range counts {
		ch <- prometheus.MustNewConstMetric(inUseDesc, prometheus.GaugeValue, float64(n), driver)
	}
}
