// Package podresources tells what pods have been given on a node: CPUs of their own, memory by NUMA node, devices of
// plug-ins and of resource claims. Agents that count what devices do ask for it on the socket that the kubelet has for
// that, podresources.v1, and ask no more often than it allows.
package podresources

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/utils/cpuset"

	"clipper/node/devices"
	"clipper/node/dra"
	"clipper/node/kubeletdir"
	"clipper/node/plugins"
	"clipper/node/resources/memory"
)

// How often may be asked, over time and at once. Upstream's figures.
const (
	perSecond = 100
	burst     = 10
)

// An Assignment is what a container has, or, without claims, what could be had.
type Assignment struct {
	Devices []devices.Holding
	CPUs    cpuset.CPUSet
	Memory  []memory.Block
	Claims  []dra.Used
}

// A Source knows what there is to tell.
type Source interface {
	// Pods are those of the node that have not ended.
	Pods() []*corev1.Pod
	Assigned(pod *corev1.Pod, c *corev1.Container) Assignment
	Allocatable() Assignment
}

// Serve answers on the socket in dir until ctx ends.
func Serve(ctx context.Context, dir kubeletdir.Dir, s Source, m *Metrics) error {
	listener, err := plugins.Listen(dir.Join("pod-resources", "kubelet.sock"))
	if err != nil {
		return fmt.Errorf("serve what pods have: %w", err)
	}
	limit := rate.NewLimiter(perSecond, burst)
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if !limit.Allow() {
			return nil, status.Error(codes.ResourceExhausted, "rejected by rate limit")
		}
		answer, err := handle(ctx, req)
		m.count(info.FullMethod, err)
		return answer, err
	}))
	podresources.RegisterPodResourcesListerServer(server, &lister{source: s})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	if err := server.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve what pods have: %w", err)
	}
	return ctx.Err()
}

type lister struct {
	podresources.UnimplementedPodResourcesListerServer
	source Source
}

func (l *lister) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	out := &podresources.ListPodResourcesResponse{}
	for _, pod := range l.source.Pods() {
		out.PodResources = append(out.PodResources, l.describe(pod))
	}
	return out, nil
}

func (l *lister) Get(_ context.Context, req *podresources.GetPodResourcesRequest) (*podresources.GetPodResourcesResponse, error) {
	for _, pod := range l.source.Pods() {
		if pod.Name == req.PodName && pod.Namespace == req.PodNamespace {
			return &podresources.GetPodResourcesResponse{PodResources: l.describe(pod)}, nil
		}
	}
	return nil, fmt.Errorf("pod %s in namespace %s not found", req.PodName, req.PodNamespace)
}

func (l *lister) GetAllocatableResources(context.Context, *podresources.AllocatableResourcesRequest) (*podresources.AllocatableResourcesResponse, error) {
	a := l.source.Allocatable()
	return &podresources.AllocatableResourcesResponse{Devices: deviceList(a.Devices), CpuIds: cpuList(a.CPUs), Memory: memoryList(a.Memory)}, nil
}

// describe tells of all containers of a pod that stay: not of init containers that end.
func (l *lister) describe(pod *corev1.Pod) *podresources.PodResources {
	out := &podresources.PodResources{Name: pod.Name, Namespace: pod.Namespace}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out.Containers = append(out.Containers, l.container(pod, c))
		}
	}
	for i := range pod.Spec.Containers {
		out.Containers = append(out.Containers, l.container(pod, &pod.Spec.Containers[i]))
	}
	return out
}

func (l *lister) container(pod *corev1.Pod, c *corev1.Container) *podresources.ContainerResources {
	a := l.source.Assigned(pod, c)
	return &podresources.ContainerResources{Name: c.Name, Devices: deviceList(a.Devices), CpuIds: cpuList(a.CPUs),
		Memory: memoryList(a.Memory), DynamicResources: claimList(a.Claims)}
}

func nodes(ids ...int) *podresources.TopologyInfo {
	out := &podresources.TopologyInfo{}
	for _, id := range ids {
		out.Nodes = append(out.Nodes, &podresources.NUMANode{ID: int64(id)})
	}
	return out
}

// deviceList has an entry for each device, with all of its NUMA nodes.
func deviceList(in []devices.Holding) []*podresources.ContainerDevices {
	var out []*podresources.ContainerDevices
	at := map[[2]string]*podresources.ContainerDevices{}
	for _, h := range in {
		for _, id := range h.IDs {
			d := at[[2]string{h.Resource, id}]
			if d == nil {
				d = &podresources.ContainerDevices{ResourceName: h.Resource, DeviceIds: []string{id}}
				at[[2]string{h.Resource, id}] = d
				out = append(out, d)
			}
			if h.HasNode() {
				if d.Topology == nil {
					d.Topology = nodes()
				}
				d.Topology.Nodes = append(d.Topology.Nodes, &podresources.NUMANode{ID: h.Node})
			}
		}
	}
	return out
}

func cpuList(in cpuset.CPUSet) []int64 {
	var out []int64
	for _, cpu := range in.List() {
		out = append(out, int64(cpu))
	}
	return out
}

func memoryList(in []memory.Block) []*podresources.ContainerMemory {
	var out []*podresources.ContainerMemory
	for _, b := range in {
		out = append(out, &podresources.ContainerMemory{MemoryType: string(b.Type), Size: b.Size, Topology: nodes(b.NUMAAffinity...)})
	}
	return out
}

// claimList has an entry for each claim, with all of its devices.
func claimList(in []dra.Used) []*podresources.DynamicResource {
	var out []*podresources.DynamicResource
	for _, u := range in {
		r := &podresources.ClaimResource{DriverName: u.Driver, PoolName: u.Pool, DeviceName: u.Name, ShareId: (*string)(u.ShareID)}
		for _, name := range u.CDI {
			r.CdiDevices = append(r.CdiDevices, &podresources.CDIDevice{Name: name})
		}
		if n := len(out); n == 0 || out[n-1].ClaimName != u.Claim || out[n-1].ClaimNamespace != u.Namespace {
			out = append(out, &podresources.DynamicResource{ClaimName: u.Claim, ClaimNamespace: u.Namespace})
		}
		last := out[len(out)-1]
		last.ClaimResources = append(last.ClaimResources, r)
	}
	return out
}
