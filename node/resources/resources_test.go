package resources

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"clipper/node/devices"
	"clipper/node/kubeletconfig"
	"clipper/node/kubeletdir"
	"clipper/node/runtime"
)

// sys is a machine of two NUMA nodes with four CPUs and 4 GiB each.
func sys() fstest.MapFS {
	out := fstest.MapFS{}
	for name, data := range map[string]string{
		"cpu/online": "0-7", "node/online": "0-1", "node/node0/cpulist": "0-3", "node/node1/cpulist": "4-7",
		"node/node0/meminfo": "Node 0 MemTotal: 4194304 kB", "node/node1/meminfo": "Node 1 MemTotal: 4194304 kB",
		"node/node0/distance": "10 20", "node/node1/distance": "20 10",
	} {
		out["devices/system/"+name] = &fstest.MapFile{Data: []byte(data + "\n")}
	}
	for cpu := range 8 {
		out[fmt.Sprintf("devices/system/cpu/cpu%d/topology/physical_package_id", cpu)] = &fstest.MapFile{Data: fmt.Appendln(nil, cpu/4)}
		out[fmt.Sprintf("devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu)] = &fstest.MapFile{Data: fmt.Appendln(nil, cpu)}
	}
	return out
}

// A fake is a runtime's containers, and the claims that there are none of.
type fake struct {
	mu      sync.Mutex
	running []runtime.ContainerStatus
	cpus    map[string]string // by container
	claims  []string          // what was asked of claims
}

func (f *fake) List(context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return []runtime.SandboxStatus{{ID: "s"}, {ID: "crictl", External: true}}, slices.Clone(f.running), nil
}

func (f *fake) UpdateResources(_ context.Context, id string, r runtime.Resources) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cpus[id] = r.CpusetCpus
	return nil
}

func (f *fake) Prepare(_ context.Context, pod *corev1.Pod, _ bool) error {
	f.claims = append(f.claims, "prepare "+string(pod.UID))
	return nil
}

func (f *fake) Unprepare(_ context.Context, pod *corev1.Pod) error {
	f.claims = append(f.claims, "unprepare "+string(pod.UID))
	return nil
}

func (f *fake) Container(_ *corev1.Pod, _ *corev1.Container, spec *runtime.Container) error {
	spec.CDIDevices = append(spec.CDIDevices, "v.com/c=d")
	return nil
}

func (f *fake) Health(*corev1.Pod, *corev1.Container) []corev1.ResourceStatus { return nil }

func open(t *testing.T, dir kubeletdir.Dir, change func(*kubeletconfig.Configuration)) (*Manager, *fake, error) {
	t.Helper()
	f := &fake{cpus: map[string]string{}}
	d, err := devices.New(devices.Config{Dir: dir, Nodes: func() []int { return []int{0, 1} }})
	if err != nil {
		t.Fatal(err)
	}
	settings := kubeletconfig.Default()
	settings.CPUManagerPolicy = "static"
	change(settings)
	m, err := New(Config{Dir: dir, Settings: settings, Reserved: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")},
		Devices: d, Claims: f, Runtime: f, Sys: sys()})
	return m, f, err
}

func guaranteed(name string, cpus ...string) *corev1.Pod {
	p := &corev1.Pod{}
	p.UID = types.UID(name)
	for i, n := range cpus {
		list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(n), corev1.ResourceMemory: resource.MustParse("64Mi")}
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: fmt.Sprint("c", i), Resources: corev1.ResourceRequirements{Requests: list, Limits: list}})
	}
	return p
}

func refusalOf(err error) string {
	var r interface{ Refusal() (string, string) }
	if !errors.As(err, &r) {
		return fmt.Sprint(err)
	}
	reason, message := r.Refusal()
	return reason + ": " + message
}

func TestPoliciesOfNUMANodes(t *testing.T) {
	const noLocality = "TopologyAffinityError: Resources cannot be allocated with Topology locality"
	for _, c := range []struct {
		policy, scope string
		pods          []*corev1.Pod
		want          []string // what each container has, or why the pod is refused
	}{
		// CPU 0 is reserved, so node 0 has 3 and node 1 has 4.
		{"none", "container", []*corev1.Pod{guaranteed("a", "3"), guaranteed("b", "3")}, []string{"1-3", "4-6"}},
		{"single-numa-node", "container", []*corev1.Pod{guaranteed("a", "4"), guaranteed("b", "4")}, []string{"4-7", noLocality}},
		{"single-numa-node", "container", []*corev1.Pod{guaranteed("a", "2", "4")}, []string{"1-2 4-7"}},
		{"single-numa-node", "pod", []*corev1.Pod{guaranteed("a", "2", "4")}, []string{noLocality}},
		{"single-numa-node", "pod", []*corev1.Pod{guaranteed("a", "2", "2")}, []string{"4-5 6-7"}},
		{"restricted", "container", []*corev1.Pod{guaranteed("a", "3"), guaranteed("b", "2"), guaranteed("c", "2"), guaranteed("d", "1")}, []string{"1-3", "4-5", "6-7", noLocality}},
		{"best-effort", "container", []*corev1.Pod{guaranteed("a", "2"), guaranteed("b", "2"), guaranteed("c", "3")}, []string{"1-2", "4-5", "3,6-7"}},
		{"none", "container", []*corev1.Pod{guaranteed("a", "8")}, []string{"UnexpectedAdmissionError: Allocate failed due to not enough cpus available to satisfy request: requested=8, available=7, which is unexpected"}},
	} {
		m, _, err := open(t, kubeletdir.Dir(t.TempDir()), func(k *kubeletconfig.Configuration) {
			k.TopologyManagerPolicy, k.TopologyManagerScope = c.policy, c.scope
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, pod := range c.pods {
			var got []string
			if err := m.Allocate(t.Context(), pod, false); err != nil {
				got = append(got, refusalOf(err))
			} else {
				for _, container := range pod.Spec.Containers {
					cpus, _ := m.CPUsOf(pod.UID, container.Name)
					got = append(got, cpus.String())
				}
			}
			if text := strings.Join(got, " "); text != c.want[i] {
				t.Errorf("%s by %s, pod %d: %s; want %s", c.policy, c.scope, i, text, c.want[i])
			}
		}
	}
}

// A pod that is refused for its second container leaves nothing behind of its first.
func TestRefusedPodKeepsNothing(t *testing.T) {
	m, _, err := open(t, kubeletdir.Dir(t.TempDir()), func(*kubeletconfig.Configuration) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Allocate(t.Context(), guaranteed("a", "4", "4"), false); err == nil {
		t.Fatal("8 of 7 CPUs were had")
	}
	if err := m.Allocate(t.Context(), guaranteed("b", "7"), false); err != nil {
		t.Error(err)
	}
}

func TestSpecification(t *testing.T) {
	m, f, err := open(t, kubeletdir.Dir(t.TempDir()), func(*kubeletconfig.Configuration) {})
	if err != nil {
		t.Fatal(err)
	}
	pod := guaranteed("a", "2", "1500m")
	pod.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "dev"}}
	if !m.Needs(pod) || m.Needs(&corev1.Pod{}) {
		t.Error("who needs what")
	}
	if err := m.Allocate(t.Context(), pod, false); err != nil {
		t.Fatal(err)
	}
	whole := runtime.Resources{CPUQuota: 350_000, CPUPeriod: 100_000}
	if m.Sandbox(pod, &whole); whole.CPUQuota != 0 {
		t.Error("the pod is throttled on CPUs of its own")
	}
	for i, want := range []runtime.Resources{{CpusetCpus: "1-2"}, {CpusetCpus: "0,3-7", CPUQuota: 150_000, CPUPeriod: 100_000}} {
		spec := &runtime.Container{Resources: runtime.Resources{CPUQuota: 150_000, CPUPeriod: 100_000}}
		if err := m.Container(t.Context(), pod, &pod.Spec.Containers[i], spec); err != nil || fmt.Sprint(spec.Resources) != fmt.Sprint(want) || len(spec.CDIDevices) != 1 {
			t.Errorf("container %d: %+v, %v; want %+v", i, spec.Resources, err, want)
		}
	}
	if err := m.Release(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.claims); got != "[prepare a unprepare a]" {
		t.Errorf("claims: %s", got)
	}
	if cpus, _ := m.CPUsOf("a", "c0"); !cpus.IsEmpty() {
		t.Errorf("kept %s", cpus)
	}
}

// Containers that share CPUs move away from those that somebody gets, and back; a new agent sees that they are where
// they belong.
func TestSharedContainersMove(t *testing.T) {
	dir := kubeletdir.Dir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		m, f, err := open(t, dir, func(*kubeletconfig.Configuration) {})
		if err != nil {
			t.Fatal(err)
		}
		f.running = []runtime.ContainerStatus{{ID: "x", PodUID: "x", Name: "c", SandboxID: "s", State: runtime.Running},
			{ID: "old", PodUID: "x", Name: "c", SandboxID: "s", State: runtime.Exited}, {ID: "mine", PodUID: "y", SandboxID: "crictl", State: runtime.Running}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			f.mu.Lock()
			defer f.mu.Unlock()
			if got := fmt.Sprint(f.cpus); got != want {
				t.Errorf("containers run on %s, want %s", got, want)
			}
		}
		expect("map[x:0-7]")
		if err := m.Allocate(ctx, guaranteed("a", "3"), false); err != nil {
			t.Fatal(err)
		}
		expect("map[x:0,4-7]")
		if err := m.Release(ctx, guaranteed("a", "3")); err != nil {
			t.Fatal(err)
		}
		expect("map[x:0-7]")
		if err := m.Allocate(ctx, guaranteed("gone", "2"), false); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-ended
	})
	next, _, err := open(t, dir, func(*kubeletconfig.Configuration) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Sweep(func(types.UID) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if cpus, _ := next.CPUsOf("gone", "c0"); !cpus.IsEmpty() {
		t.Errorf("a pod that is gone has %s", cpus)
	}
	_, _, err = open(t, dir, func(k *kubeletconfig.Configuration) { k.CPUManagerPolicy = "none" })
	if err == nil || !strings.Contains(err.Error(), `configured policy "none" differs from state checkpoint policy "static"`) {
		t.Errorf("without the policy: %v", err)
	}
}
