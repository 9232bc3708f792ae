package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func randomNode(r *rand.Rand) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", r.IntN(5)), Labels: map[string]string{"l": fmt.Sprint(r.IntN(2))}}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: *resource.NewQuantity(r.Int64N(8), resource.DecimalSI)}
	for i := range r.IntN(3) {
		n.Status.Images = append(n.Status.Images, corev1.ContainerImage{Names: []string{fmt.Sprint("image", i)}, SizeBytes: 1})
	}
	n.Spec.Unschedulable = r.IntN(2) == 0
	return n
}

func randomPod(r *rand.Rand) *Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", r.IntN(20)), Labels: map[string]string{"app": fmt.Sprint(r.IntN(2))}}}
	p.UID = types.UID(p.Name)
	c := corev1.Container{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: *resource.NewMilliQuantity(r.Int64N(2000), resource.DecimalSI), "example.com/gpu": *resource.NewQuantity(r.Int64N(2), resource.DecimalSI)}}}
	if r.IntN(2) == 0 {
		c.Ports = []corev1.ContainerPort{{HostPort: int32(80 + r.IntN(2))}}
	}
	p.Spec.Containers = []corev1.Container{c}
	if r.IntN(3) == 0 {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "l", LabelSelector: &metav1.LabelSelector{}}}}}
	}
	return NewPod(p)
}

// After any history the sums equal those of a picture built at once from what is there.
func TestSumsEqualARebuild(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		c := New()
		nodes, pods, on := map[string]*corev1.Node{}, map[types.UID]*Pod{}, map[types.UID]string{}
		for range 200 {
			switch r.IntN(10) {
			case 0, 1:
				n := randomNode(r)
				nodes[n.Name] = n
				c.SetNode(n)
			case 2:
				name := fmt.Sprint("n", r.IntN(5))
				delete(nodes, name)
				c.RemoveNode(name)
			case 3, 4, 5:
				uid := types.UID(fmt.Sprint("p", r.IntN(20)))
				delete(pods, uid)
				delete(on, uid)
				c.Remove(uid)
			default:
				p := randomPod(r)
				pods[p.UID], on[p.UID] = p, fmt.Sprint("n", r.IntN(6))
				c.Place(p, on[p.UID])
			}
		}
		rebuilt := New()
		for _, n := range nodes {
			rebuilt.SetNode(n)
		}
		for uid, p := range pods {
			rebuilt.Place(p, on[uid])
		}
		compare(t, seed, c, rebuilt)
	}
}

func compare(t *testing.T, seed uint64, got, want *Cluster) {
	t.Helper()
	if len(got.list) != len(want.list) || !maps.Equal(got.imageNodes, want.imageNodes) || got.affinityPods != want.affinityPods || got.antiAffinityPods != want.antiAffinityPods {
		t.Fatalf("seed %d: nodes %d %d, images %v %v, affinity %d %d", seed, len(got.list), len(want.list), got.imageNodes, want.imageNodes, got.affinityPods, want.affinityPods)
	}
	for name, w := range want.nodes {
		g := got.nodes[name]
		drop := func(r Resources) Resources {
			r.Scalar = maps.Clone(r.Scalar)
			maps.DeleteFunc(r.Scalar, func(_ corev1.ResourceName, v int64) bool { return v == 0 })
			return r
		}
		if g == nil || !drop(g.Requested).equal(drop(w.Requested)) || g.NonZero.MilliCPU != w.NonZero.MilliCPU || !maps.Equal(g.Ports, w.Ports) ||
			len(g.Pods) != len(w.Pods) || g.AffinityPods != w.AffinityPods || g.AntiAffinityPods != w.AntiAffinityPods {
			t.Fatalf("seed %d: node %s: %+v, want %+v", seed, name, g, w)
		}
	}
	if len(got.orphans) != len(want.orphans) {
		t.Fatalf("seed %d: orphans %v, want %v", seed, got.orphans, want.orphans)
	}
}

func TestChanges(t *testing.T) {
	node := func(cpu string, mod func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
		n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
		if mod != nil {
			mod(n)
		}
		return n
	}
	c := New()
	for i, step := range []struct {
		node *corev1.Node
		want Change
	}{
		{node("1", nil), NodeAdded},
		{node("1", nil), 0},
		{node("1", func(n *corev1.Node) { n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}} }), 0}, // a heartbeat wakes nobody
		{node("2", nil), NodeAllocatable},
		{node("2", func(n *corev1.Node) { n.Labels = map[string]string{"a": "b"} }), NodeLabels},
		{node("2", func(n *corev1.Node) { n.Spec.Unschedulable = true }), NodeLabels | NodeTaints},
	} {
		if got := c.SetNode(step.node); got != step.want {
			t.Errorf("step %d: %b, want %b", i, got, step.want)
		}
	}
}
