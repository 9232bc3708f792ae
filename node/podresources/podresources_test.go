package podresources

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/utils/cpuset"
	"k8s.io/utils/ptr"

	"clipper/node/devices"
	"clipper/node/dra"
	"clipper/node/kubeletdir"
	"clipper/node/plugins"
	"clipper/node/resources/memory"
)

type source struct{ pod corev1.Pod }

func (s *source) Pods() []*corev1.Pod { return []*corev1.Pod{&s.pod} }

func (s *source) Assigned(_ *corev1.Pod, c *corev1.Container) Assignment {
	if c.Name != "main" {
		return Assignment{}
	}
	return Assignment{CPUs: cpuset.New(2, 3), Memory: []memory.Block{{NUMAAffinity: []int{0, 1}, Type: "memory", Size: 7}},
		Devices: []devices.Holding{{Resource: "e.com/d", Node: 0, IDs: []string{"a", "b"}}, {Resource: "e.com/d", Node: 1, IDs: []string{"a"}}, {Resource: "e.com/x", Node: -1, IDs: []string{"c"}}},
		Claims:  []dra.Used{{Claim: "c", Namespace: "ns", Driver: "d", Pool: "p", Name: "0", CDI: []string{"v/c=0"}}, {Claim: "c", Namespace: "ns", Driver: "d", Pool: "p", Name: "1"}}}
}

func (s *source) Allocatable() Assignment {
	return Assignment{CPUs: cpuset.New(1, 2, 3), Devices: []devices.Holding{{Resource: "e.com/d", Node: 0, IDs: []string{"a"}}}}
}

func TestServe(t *testing.T) {
	dir := kubeletdir.Dir(t.TempDir())
	s := &source{}
	s.pod.Name, s.pod.Namespace = "p", "ns"
	s.pod.Spec.InitContainers = []corev1.Container{{Name: "ends"}, {Name: "sidecar", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
	s.pod.Spec.Containers = []corev1.Container{{Name: "main"}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, dir, s, NewMetrics()) }()
	conn, err := plugins.Dial(dir.Join("pod-resources/kubelet.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := podresources.NewPodResourcesListerClient(conn)
	list, err := client.List(ctx, &podresources.ListPodResourcesRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	want := `name:"p" namespace:"ns" containers:{name:"sidecar"} containers:{name:"main" ` +
		`devices:{resource_name:"e.com/d" device_ids:"a" topology:{nodes:{} nodes:{ID:1}}} devices:{resource_name:"e.com/d" device_ids:"b" topology:{nodes:{}}} devices:{resource_name:"e.com/x" device_ids:"c"} ` +
		`cpu_ids:2 cpu_ids:3 memory:{memory_type:"memory" size:7 topology:{nodes:{} nodes:{ID:1}}} ` +
		`dynamic_resources:{claim_name:"c" claim_namespace:"ns" claim_resources:{cdi_devices:{name:"v/c=0"} driver_name:"d" pool_name:"p" device_name:"0"} claim_resources:{driver_name:"d" pool_name:"p" device_name:"1"}}}`
	one, err := client.Get(ctx, &podresources.GetPodResourcesRequest{PodName: "p", PodNamespace: "ns"})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []any{list.PodResources[0], one.PodResources} {
		if text := strings.Join(strings.Fields(fmt.Sprint(got)), " "); text != want { // the library varies its spaces
			t.Errorf("got  %s\nwant %s", text, want)
		}
	}
	if _, err := client.Get(ctx, &podresources.GetPodResourcesRequest{PodName: "q", PodNamespace: "ns"}); err == nil || !strings.Contains(err.Error(), "pod q in namespace ns not found") {
		t.Errorf("got %v", err)
	}
	all, err := client.GetAllocatableResources(ctx, &podresources.AllocatableResourcesRequest{})
	if err != nil || len(all.CpuIds) != 3 || len(all.Devices) != 1 {
		t.Errorf("allocatable %v, %v", all, err)
	}
	for refused := 0; refused == 0; {
		if _, err := client.List(ctx, &podresources.ListPodResourcesRequest{}); err != nil {
			if !strings.Contains(err.Error(), "rejected by rate limit") {
				t.Fatal(err)
			}
			refused++
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
