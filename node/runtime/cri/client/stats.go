package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// Stats asks for the resource use of containers. Those that are gone are left out.
func (r *Runtime) Stats(ctx context.Context, ids ...string) ([]runtime.Stats, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	if len(ids) == 1 {
		resp, err := r.service.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: ids[0]})
		if err != nil {
			return nil, plain(err)
		}
		return []runtime.Stats{containerStats(resp.Stats)}, nil
	}
	resp, err := r.service.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	if err != nil {
		return nil, plain(err)
	}
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	var out []runtime.Stats
	for _, st := range resp.Stats {
		if wanted[st.GetAttributes().GetId()] {
			out = append(out, containerStats(st))
		}
	}
	return out, nil
}

func containerStats(st *runtimeapi.ContainerStats) runtime.Stats {
	out := runtime.Stats{ContainerID: st.GetAttributes().GetId()}
	add(&out, st.GetCpu(), st.GetMemory())
	out.RootfsUsed = int64(st.GetWritableLayer().GetUsedBytes().GetValue())
	out.RootfsInodes = int64(st.GetWritableLayer().GetInodesUsed().GetValue())
	return out
}

// add adds processor time and memory.
func add(out *runtime.Stats, cpu *runtimeapi.CpuUsage, memory *runtimeapi.MemoryUsage) {
	if out.At = time.Unix(0, cpu.GetTimestamp()); cpu == nil {
		out.At = time.Now()
	}
	out.CPUUsage += time.Duration(cpu.GetUsageCoreNanoSeconds().GetValue())
	out.MemoryUsage += int64(memory.GetUsageBytes().GetValue())
	out.MemoryWorkingSet += int64(memory.GetWorkingSetBytes().GetValue())
	out.MemoryRSS += int64(memory.GetRssBytes().GetValue())
	out.PageFaults += int64(memory.GetPageFaults().GetValue())
	out.MajorPageFaults += int64(memory.GetMajorPageFaults().GetValue())
}

// SandboxStats asks for the resource use of a pod as a whole: of its containers together, where the runtime does
// not count the sandbox.
func (r *Runtime) SandboxStats(ctx context.Context, id string) (runtime.Stats, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	remote, err := r.remote(ctx, id)
	if err != nil {
		return runtime.Stats{}, err
	}
	resp, err := r.service.PodSandboxStats(ctx, &runtimeapi.PodSandboxStatsRequest{PodSandboxId: remote})
	if status.Code(err) == codes.Unimplemented {
		return r.sumOf(ctx, remote)
	}
	if err != nil {
		return runtime.Stats{}, plain(err)
	}
	linux := resp.GetStats().GetLinux()
	if linux == nil {
		return runtime.Stats{}, fmt.Errorf("sandbox %s: the runtime tells no resource use", id)
	}
	var out runtime.Stats
	add(&out, linux.Cpu, linux.Memory)
	out.Pids = int64(linux.GetProcess().GetProcessCount().GetValue())
	return out, nil
}

func (r *Runtime) sumOf(ctx context.Context, remote string) (runtime.Stats, error) {
	resp, err := r.service.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{Filter: &runtimeapi.ContainerStatsFilter{PodSandboxId: remote}})
	if err != nil {
		return runtime.Stats{}, errors.Join(errors.New("sum up the containers' resource use"), plain(err))
	}
	out := runtime.Stats{At: time.Now()}
	for _, st := range resp.Stats {
		add(&out, st.GetCpu(), st.GetMemory())
	}
	return out, nil
}
