package server

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/image"
	"clipper/node/runtime"
)

func value(n int64) *runtimeapi.UInt64Value {
	return &runtimeapi.UInt64Value{Value: uint64(max(n, 0))}
}

func cpuUsage(st *runtime.Stats) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{Timestamp: nano(st.At), UsageCoreNanoSeconds: value(st.CPUUsage.Nanoseconds())}
}

func memoryUsage(st *runtime.Stats) *runtimeapi.MemoryUsage {
	return &runtimeapi.MemoryUsage{
		Timestamp: nano(st.At), WorkingSetBytes: value(st.MemoryWorkingSet), UsageBytes: value(st.MemoryUsage),
		RssBytes: value(st.MemoryRSS), PageFaults: value(st.PageFaults), MajorPageFaults: value(st.MajorPageFaults),
	}
}

func (s *Server) containerStats(c *runtime.ContainerStatus, st *runtime.Stats) *runtimeapi.ContainerStats {
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: c.ID, Metadata: containerMetadata(c), Labels: c.Labels, Annotations: c.Annotations},
		WritableLayer: &runtimeapi.FilesystemUsage{
			Timestamp: nano(st.At), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: s.opts.Images.Dir()},
			UsedBytes: value(st.RootfsUsed), InodesUsed: value(st.RootfsInodes),
		},
	}
	if c.State == runtime.Running {
		out.Cpu, out.Memory = cpuUsage(st), memoryUsage(st)
	}
	return out
}

// usage is what a container uses.
type usage struct {
	runtime.ContainerStatus
	stats runtime.Stats
}

// usages asks about the running containers that keep lets through. One that goes meanwhile is left out.
func (s *Server) usages(ctx context.Context, keep func(*runtime.ContainerStatus) bool) ([]usage, error) {
	_, containers, err := s.opts.Runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []usage
	for i := range containers {
		c := &containers[i]
		if c.State != runtime.Running || !keep(c) {
			continue
		}
		if st, err := s.opts.Runtime.Stats(ctx, c.ID); err == nil && len(st) == 1 {
			out = append(out, usage{*c, st[0]})
		}
	}
	return out, ctx.Err()
}

// ContainerStats returns the resource use of a container.
func (s *Server) ContainerStats(ctx context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	c, err := s.container(ctx, req.ContainerId)
	if err != nil {
		return nil, err
	}
	st, err := s.opts.Runtime.Stats(ctx, c.ID)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatsResponse{Stats: s.containerStats(&c, &st[0])}, nil
}

// ListContainerStats returns the resource use of the running containers that a filter lets through.
func (s *Server) ListContainerStats(ctx context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	items, err := s.listContainerStats(ctx, req.Filter)
	return &runtimeapi.ListContainerStatsResponse{Stats: items}, err
}

// StreamContainerStats is ListContainerStats in parts.
func (s *Server) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, to grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	items, err := s.listContainerStats(to.Context(), req.Filter)
	return inParts(items, err, func(part []*runtimeapi.ContainerStats) error {
		return to.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: part})
	})
}

func (s *Server) listContainerStats(ctx context.Context, f *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	all, err := s.usages(ctx, func(c *runtime.ContainerStatus) bool {
		return strings.HasPrefix(c.ID, f.GetId()) && strings.HasPrefix(c.SandboxID, f.GetPodSandboxId()) && selects(f.GetLabelSelector(), c.Labels)
	})
	var out []*runtimeapi.ContainerStats
	for i := range all {
		out = append(out, s.containerStats(&all[i].ContainerStatus, &all[i].stats))
	}
	return out, err
}

// PodSandboxStats returns the resource use of a sandbox with its containers.
func (s *Server) PodSandboxStats(ctx context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	sb, err := s.sandbox(ctx, req.PodSandboxId)
	if err != nil {
		return nil, err
	}
	st, err := s.sandboxStats(ctx, &sb)
	return &runtimeapi.PodSandboxStatsResponse{Stats: st}, err
}

func (s *Server) sandboxStats(ctx context.Context, sb *runtime.SandboxStatus) (*runtimeapi.PodSandboxStats, error) {
	st, err := s.opts.Runtime.SandboxStats(ctx, sb.ID)
	if err != nil {
		return nil, err
	}
	containers, err := s.usages(ctx, func(c *runtime.ContainerStatus) bool { return c.SandboxID == sb.ID })
	if err != nil {
		return nil, err
	}
	linux := &runtimeapi.LinuxPodSandboxStats{
		Cpu: cpuUsage(&st), Memory: memoryUsage(&st),
		Process: &runtimeapi.ProcessUsage{Timestamp: nano(st.At), ProcessCount: value(st.Pids)},
	}
	for i := range containers {
		linux.Containers = append(linux.Containers, s.containerStats(&containers[i].ContainerStatus, &containers[i].stats))
	}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{Id: sb.ID, Metadata: sandboxMetadata(sb), Labels: sb.Labels, Annotations: sb.Annotations},
		Linux:      linux,
	}, nil
}

// ListPodSandboxStats returns the resource use of the ready sandboxes that a filter lets through.
func (s *Server) ListPodSandboxStats(ctx context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	items, err := s.listSandboxStats(ctx, req.Filter)
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: items}, err
}

// StreamPodSandboxStats is ListPodSandboxStats in parts.
func (s *Server) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, to grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	items, err := s.listSandboxStats(to.Context(), req.Filter)
	return inParts(items, err, func(part []*runtimeapi.PodSandboxStats) error {
		return to.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: part})
	})
}

func (s *Server) listSandboxStats(ctx context.Context, f *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	sandboxes, _, err := s.opts.Runtime.List(ctx)
	if err != nil {
		return nil, err
	}
	sandboxes = slices.DeleteFunc(sandboxes, func(sb runtime.SandboxStatus) bool {
		return !sb.Ready || !strings.HasPrefix(sb.ID, f.GetId()) || !selects(f.GetLabelSelector(), sb.Labels)
	})
	var out []*runtimeapi.PodSandboxStats
	for i := range sandboxes {
		if st, err := s.sandboxStats(ctx, &sandboxes[i]); err == nil { // else it has gone meanwhile
			out = append(out, st)
		}
	}
	return out, ctx.Err()
}

// diskUsage remembers what the images take: finding out walks them all.
type diskUsage struct {
	of func(context.Context) (image.Usage, error)

	mu    sync.Mutex
	known image.Usage
	at    time.Time
}

// diskUsageAge is how old what is told may be.
const diskUsageAge = time.Minute

func (d *diskUsage) usage(ctx context.Context, now time.Time) (image.Usage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Sub(d.at) < diskUsageAge {
		return d.known, nil
	}
	u, err := d.of(ctx)
	if err == nil {
		d.known, d.at = u, now
	}
	return u, err
}
