package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/node/cgroup"
	"clipper/node/kubeletconfig"
	"clipper/node/network"
	"clipper/node/nodetest"
	"clipper/node/runtime"
	"clipper/node/volume"
)

type rig struct {
	t      *testing.T
	client *nodetest.Client
	rt     *nodetest.Runtime
	net    *nodetest.Network
	images *nodetest.Images
	dir    string

	manifests string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("volumes need root")
	}
	r := &rig{t: t, client: nodetest.NewClient(), rt: nodetest.NewRuntime(), net: &nodetest.Network{}, dir: t.TempDir(),
		images: &nodetest.Images{Present: map[string]runtime.Image{"web:1": {ID: "sha256:w", Tags: []string{"docker.io/library/web:1"}, Size: 7}}}}
	t.Cleanup(func() {
		if err := volume.UnmountBelow(r.dir); err != nil {
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
	config.EvictionHard = map[string]string{} // what this machine is short of is none of the tests' business
	a, err := New(Options{Client: r.client, Runtime: r.rt, Images: r.images, NodeName: "n1",
		NodeIPs: []netip.Addr{netip.MustParseAddr("192.168.0.1")}, DataDir: r.dir, Config: config, ManifestDir: r.manifests, CgroupRoot: r.cgroup(),
		OpenNetwork: func(context.Context, *corev1.Node) (network.Network, error) { return r.net, nil }})
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

func TestNodeRegistersAndRunsPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.start()
		synctest.Wait()
		n, err := api.Nodes.Get(context.Background(), r.client, "", "n1")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range n.Status.Conditions {
			if want := c.Type == corev1.NodeReady; (c.Status == corev1.ConditionTrue) != want {
				t.Errorf("condition %+v", c)
			}
		}
		if n.Labels[corev1.LabelHostname] != "n1" || n.Status.NodeInfo.KubeletVersion != "v1.36.3" ||
			n.Status.NodeInfo.ContainerRuntimeVersion != "clipper://v0.1.0" || len(n.Status.Images) != 1 {
			t.Errorf("node = %+v", n)
		}
		l, err := api.Leases.Get(context.Background(), r.client, corev1.NamespaceNodeLease, "n1")
		if err != nil {
			t.Fatal(err)
		}
		renewed := l.Spec.RenewTime.Time
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if l, _ = api.Leases.Get(context.Background(), r.client, corev1.NamespaceNodeLease, "n1"); !l.Spec.RenewTime.After(renewed) {
			t.Error("the lease was not renewed")
		}

		r.create("a", nil)
		r.create("big", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
		})
		synctest.Wait()
		if p := r.get("a"); p.Status.Phase != corev1.PodRunning {
			t.Errorf("a: %+v", p.Status)
		}
		if p := r.get("big"); p.Status.Phase != corev1.PodFailed || p.Status.Reason != "OutOfcpu" {
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
		stop = r.start()
		synctest.Wait()
		ss, _, _ := r.rt.List(context.Background())
		for _, s := range ss {
			if s.PodUID == string(gone.UID) {
				t.Errorf("the sandbox of a deleted pod is still there: %+v", s)
			}
		}
		if p := r.get("b"); p.Status.Phase != corev1.PodRunning || len(r.net.Attached) != 1 {
			t.Errorf("b: %+v, attached %v", p.Status, r.net.Attached)
		}
		stop()
	})
}

func TestDeletedPodLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		stop := r.start()
		p := r.create("a", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "e", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Memory"}}}}
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "e", MountPath: "/e"}}
		})
		synctest.Wait()
		if _, err := os.Stat(r.dir + "/pods/" + string(p.UID) + "/volumes"); err != nil {
			t.Error(err)
		}
		if err := api.Pods.Delete(context.Background(), r.client, "ns", "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := api.Pods.Get(context.Background(), r.client, "ns", "a"); err == nil {
			t.Error("the pod is still in the API")
		}
		for _, dir := range []string{"/pods", "/memory", "/logs/pods"} {
			if left, _ := os.ReadDir(r.dir + dir); len(left) != 0 {
				t.Errorf("left in %s: %v", dir, left)
			}
		}
		stop()
	})
}
