package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/node/cgroup"
	"clipper/node/kubeletconfig"
	"clipper/node/network"
	"clipper/node/nodetest"
	"clipper/node/priority"
	"clipper/node/runtime"
)

type rig struct {
	t      *testing.T
	client *nodetest.Client
	rt     *nodetest.Runtime
	net    *nodetest.Network
	images *nodetest.Images
	dir    string

	manifests string
	change    func(*Options)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("volumes need root")
	}
	r := &rig{t: t, client: nodetest.NewClient(), rt: nodetest.NewRuntime(), net: &nodetest.Network{}, dir: t.TempDir(),
		images: &nodetest.Images{Present: map[string]runtime.Image{"web:1": {ID: "sha256:w", Tags: []string{"docker.io/library/web:1"}, Size: 7}}}}
	t.Cleanup(func() {
		if err := nodetest.UnmountBelow(r.dir); err != nil {
			t.Error(err)
		}
		removeTree(t, r.cgroup())
	})
	return r
}

func (r *rig) cgroup() string { return "/clipper-test-" + filepath.Base(filepath.Dir(r.dir)) }

func removeTree(t testing.TB, root string) {
	t.Helper()
	tree, err := cgroup.OpenTree(root)
	if err == nil {
		err = tree.Remove()
	}
	if err != nil {
		t.Error(err)
	}
}

// start runs an agent and returns what ends it, as SIGTERM does.
func (r *rig) start() (stop func()) {
	r.t.Helper()
	config := kubeletconfig.Default()
	config.MaxPods = 3
	config.NodeLeaseDurationSeconds = 1
	config.EvictionHard = map[string]string{} // what this machine is short of is none of the tests' business
	o := Options{Client: r.client, Runtime: r.rt, Images: r.images, NodeName: "n1",
		NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.0.1")}, DataDir: r.dir, Config: config, ManifestDir: r.manifests, CgroupRoot: r.cgroup(),
		OpenNetwork: func(context.Context, *corev1.Node) (network.Network, error) { return r.net, nil }}
	if r.change != nil {
		r.change(&o)
	}
	a, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

func (r *rig) create(name string, change func(*corev1.Pod)) *corev1.Pod {
	r.t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	p.Spec = corev1.PodSpec{NodeName: "n1", RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSClusterFirst,
		Containers: []corev1.Container{{Name: "c", Image: "web:1", ImagePullPolicy: corev1.PullIfNotPresent}}}
	if change != nil {
		change(p)
	}
	p, err := api.Pods.Create(context.Background(), r.client, p)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) get(name string) *corev1.Pod {
	r.t.Helper()
	p, err := api.Pods.Get(context.Background(), r.client, "ns", name)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) node() *corev1.Node {
	n, ok := api.Nodes.View(r.client).Get("", "n1")
	if !ok {
		return &corev1.Node{}
	}
	return n
}

// soon waits for what no event of a pod tells of.
func (r *rig) soon(what string, ok func() bool) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for over := time.After(10 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-over:
			r.t.Fatalf("never: %s", what)
		}
	}
}

// phase waits until a pod has the phase.
func (r *rig) phase(name string, want corev1.PodPhase) *corev1.Pod {
	r.t.Helper()
	r.until(name+" is "+string(want), func() bool { return r.get(name).Status.Phase == want })
	return r.get(name)
}

func TestNodeRegistersAndRunsPods(t *testing.T) {
	r := newRig(t)
	stop := r.start()
	r.soon("the node is ready", func() bool {
		return slices.ContainsFunc(r.node().Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
	n := r.node()
	for _, c := range n.Status.Conditions {
		if want := c.Type == corev1.NodeReady; (c.Status == corev1.ConditionTrue) != want {
			t.Errorf("condition %+v", c)
		}
	}
	if n.Labels[corev1.LabelHostname] != "n1" || n.Status.NodeInfo.KubeletVersion != "v1.36.3" ||
		n.Status.NodeInfo.ContainerRuntimeVersion != "clipper://v0.1.0" || len(n.Status.Images) != 1 {
		t.Errorf("node = %+v", n)
	}
	renewed := func() time.Time {
		l, err := api.Leases.Get(context.Background(), r.client, corev1.NamespaceNodeLease, "n1")
		if err != nil || l.Spec.RenewTime == nil {
			return time.Time{}
		}
		return l.Spec.RenewTime.Time
	}
	first := renewed()
	r.soon("the lease is renewed", func() bool { return renewed().After(first) })

	r.create("a", nil)
	r.create("big", func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	})
	r.phase("a", corev1.PodRunning)
	if p := r.phase("big", corev1.PodFailed); p.Status.Reason != "OutOfcpu" {
		t.Errorf("big: %+v", p.Status)
	}
	stop()

	// While no agent runs one pod is deleted for good and another made.
	gone := r.get("a")
	zero := int64(0)
	if err := api.Pods.Delete(context.Background(), r.client, "ns", "a", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	r.create("b", nil)
	defer r.start()()
	r.phase("b", corev1.PodRunning)
	ss, _, _ := r.rt.List(context.Background())
	for _, s := range ss {
		if s.PodUID == string(gone.UID) {
			t.Errorf("the sandbox of a deleted pod is still there: %+v", s)
		}
	}
	if len(r.net.Attached) != 1 {
		t.Errorf("attached %v", r.net.Attached)
	}
}

func TestDeletedPodLeavesNothing(t *testing.T) {
	r := newRig(t)
	defer r.start()()
	p := r.create("a", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "e", MountPath: "/e"}}
	})
	r.phase("a", corev1.PodRunning)
	if _, err := os.Stat(r.dir + "/kubelet/pods/" + string(p.UID) + "/volumes"); err != nil {
		t.Error(err)
	}
	if err := api.Pods.Delete(context.Background(), r.client, "ns", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until("the pod is gone", func() bool {
		_, err := api.Pods.Get(context.Background(), r.client, "ns", "a")
		return apierrors.IsNotFound(err)
	})
	for _, dir := range []string{"/kubelet/pods", "/memory", "/logs/pods"} {
		if left, _ := os.ReadDir(r.dir + dir); len(left) != 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
}

// A critical pod gets the place of one that is not; who comes meanwhile gets none.
func TestCriticalPodPreempts(t *testing.T) {
	r := newRig(t)
	defer r.start()()
	r.soon("the node is there", func() bool { return r.node().Name != "" })
	cpus := r.node().Status.Capacity.Cpu().Value()
	asks := func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(cpus*600, resource.DecimalSI)}
	}
	r.create("plain", asks)
	r.phase("plain", corev1.PodRunning)
	r.create("refused", asks)
	if p := r.phase("refused", corev1.PodFailed); p.Status.Reason != "OutOfcpu" || len(p.Status.ContainerStatuses) != 0 {
		t.Errorf("refused: %+v", p.Status)
	}
	r.create("critical", func(p *corev1.Pod) {
		asks(p)
		p.Spec.Priority = ptr.To[int32](priority.SystemCritical)
	})
	p := r.phase("plain", corev1.PodFailed)
	i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.DisruptionTarget })
	if p.Status.Reason != "Preempting" || i < 0 || p.Status.Conditions[i].Reason != corev1.PodReasonTerminationByKubelet {
		t.Errorf("plain: %+v", p.Status)
	}
	r.phase("critical", corev1.PodRunning)
}
