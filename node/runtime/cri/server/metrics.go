package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// A family is a metric that every container has, or every sandbox as a whole. Names and labels are cAdvisor's.
type family struct {
	name, help string
	kind       runtimeapi.MetricType
	of         func(*runtime.Stats) int64
}

var families = []family{
	{"container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", runtimeapi.MetricType_COUNTER,
		func(s *runtime.Stats) int64 { return int64(s.CPUUsage / time.Second) }},
	{"container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed", runtimeapi.MetricType_GAUGE,
		func(s *runtime.Stats) int64 { return s.MemoryUsage }},
	{"container_memory_working_set_bytes", "Current working set in bytes.", runtimeapi.MetricType_GAUGE,
		func(s *runtime.Stats) int64 { return s.MemoryWorkingSet }},
	{"container_memory_rss", "Size of RSS in bytes.", runtimeapi.MetricType_GAUGE,
		func(s *runtime.Stats) int64 { return s.MemoryRSS }},
	{"container_processes", "Number of processes running inside the container.", runtimeapi.MetricType_GAUGE,
		func(s *runtime.Stats) int64 { return s.Pids }},
	{"container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", runtimeapi.MetricType_GAUGE,
		func(s *runtime.Stats) int64 { return s.RootfsUsed }},
}

var labelKeys = []string{"id", "name"}

// ListMetricDescriptors tells the metrics of ListPodSandboxMetrics.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	out := &runtimeapi.ListMetricDescriptorsResponse{}
	for _, f := range families {
		out.Descriptors = append(out.Descriptors, &runtimeapi.MetricDescriptor{Name: f.name, Help: f.help, LabelKeys: labelKeys})
	}
	return out, nil
}

func metrics(st *runtime.Stats, labels ...string) []*runtimeapi.Metric {
	var out []*runtimeapi.Metric
	for _, f := range families {
		out = append(out, &runtimeapi.Metric{Name: f.name, Timestamp: nano(st.At), MetricType: f.kind, LabelValues: labels, Value: value(f.of(st))})
	}
	return out
}

// ListPodSandboxMetrics returns the metrics of all ready sandboxes and their containers.
func (s *Server) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	items, err := s.sandboxMetrics(ctx)
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: items}, err
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in parts.
func (s *Server) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, to grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	items, err := s.sandboxMetrics(to.Context())
	return inParts(items, err, func(part []*runtimeapi.PodSandboxMetrics) error {
		return to.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: part})
	})
}

func (s *Server) sandboxMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	containers, err := s.usages(ctx, func(*runtime.ContainerStatus) bool { return true })
	if err != nil {
		return nil, err
	}
	of := map[string][]*runtimeapi.ContainerMetrics{}
	for i := range containers {
		c := &containers[i]
		of[c.SandboxID] = append(of[c.SandboxID], &runtimeapi.ContainerMetrics{ContainerId: c.ID, Metrics: metrics(&c.stats, c.ID, c.Name)})
	}
	sandboxes, _, err := s.opts.Runtime.List(ctx)
	var out []*runtimeapi.PodSandboxMetrics
	for i := range sandboxes {
		sb := &sandboxes[i]
		if st, err := s.opts.Runtime.SandboxStats(ctx, sb.ID); err == nil && sb.Ready {
			out = append(out, &runtimeapi.PodSandboxMetrics{PodSandboxId: sb.ID, Metrics: metrics(&st, sb.ID, sb.Pod), ContainerMetrics: of[sb.ID]})
		}
	}
	return out, err
}
