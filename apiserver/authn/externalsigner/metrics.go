package externalsigner

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metrics are what upstream counts of an external signer, under its names.
type metrics struct {
	fetched, data prometheus.Gauge
	fetches       *prometheus.CounterVec
	signs         *prometheus.CounterVec
	took          *prometheus.HistogramVec
}

func newMetrics() *metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "apiserver_externaljwt_" + name, Help: help})
	}
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_externaljwt_" + name, Help: help}, []string{"code"})
	}
	return &metrics{
		fetched: gauge("fetch_keys_success_timestamp", "Seconds since 1970 at which keys were last fetched from the external signer."),
		data:    gauge("fetch_keys_data_timestamp", "Seconds since 1970 that the external signer last gave as the time of its keys."),
		fetches: counter("fetch_keys_request_total", "Attempts to fetch keys from the external signer."),
		signs:   counter("sign_request_total", "Attempts to have a token signed by the external signer."),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_externaljwt_request_duration_seconds", Help: "How long requests to the external signer took.",
			Buckets: []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"method", "code"}),
	}
}

// Collectors are what is counted about the process that signs.
func (s *Signer) Collectors() []prometheus.Collector {
	m := s.metrics
	return []prometheus.Collector{m.fetched, m.data, m.fetches, m.signs, m.took}
}

// measure is an interceptor of requests to the process.
func (m *metrics) measure(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	start := time.Now()
	err := invoke(ctx, method, request, reply, conn, opts...)
	m.took.WithLabelValues(method, code(err)).Observe(time.Since(start).Seconds())
	return err
}

// code is that of gRPC, or says that a failure was not the other side's.
func code(err error) string {
	if err == nil {
		return codes.OK.String()
	}
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Code().String()
	}
	return "unknown-non-grpc"
}
