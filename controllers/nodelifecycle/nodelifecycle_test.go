package nodelifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/pods"
)

func node(name string, r corev1.ConditionStatus, more ...corev1.NodeCondition) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if r != "" {
		n.Status.Conditions = append(more, corev1.NodeCondition{Type: corev1.NodeReady, Status: r})
	}
	return n
}

func show(taints []corev1.Taint) string {
	var out []string
	for _, t := range taints {
		out = append(out, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestTaints(t *testing.T) {
	pressure := corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue}
	own := corev1.Taint{Key: "mine", Effect: corev1.TaintEffectNoExecute}
	for _, tc := range []struct {
		name   string
		node   *corev1.Node
		have   []corev1.Taint
		keep   bool // no eviction
		want   string
		change bool
	}{
		{name: "healthy", node: node("n", "True")},
		{name: "not ready", node: node("n", "False"), want: "not-ready:NoExecute not-ready:NoSchedule", change: true},
		{name: "lost", node: node("n", "Unknown"), want: "unreachable:NoExecute unreachable:NoSchedule", change: true},
		{name: "lost with all others", node: node("n", "Unknown"), keep: true, want: "unreachable:NoSchedule", change: true},
		{name: "under pressure", node: node("n", "True", pressure), want: "disk-pressure:NoSchedule", change: true},
		{name: "back again, others' taints stay", node: node("n", "True"), have: []corev1.Taint{ours[0], own, ours[3]}, want: "mine:NoExecute", change: true},
		{name: "from not ready to lost", node: node("n", "Unknown"), have: []corev1.Taint{ours[0], ours[1]}, want: "unreachable:NoExecute unreachable:NoSchedule", change: true},
		{name: "nothing new", node: node("n", "False"), have: []corev1.Taint{ours[0], ours[1]}, want: "not-ready:NoExecute not-ready:NoSchedule"},
	} {
		tc.node.Spec.Taints = tc.have
		got, changed := taints(tc.node, !tc.keep, time.Now())
		if show(got) != tc.want || changed != tc.change {
			t.Errorf("%s: %s, changed %v", tc.name, show(got), changed)
		}
	}
	cordoned := node("n", "True")
	cordoned.Spec.Unschedulable = true
	if got, _ := taints(cordoned, true, time.Now()); show(got) != "unschedulable:NoSchedule" {
		t.Errorf("cordoned: %s", show(got))
	}
}

func TestMayEvict(t *testing.T) {
	for _, tc := range []struct {
		lost, all int
		want      bool
	}{{0, 3, true}, {1, 3, true}, {2, 3, true}, {3, 3, false}, {1, 1, false}, {6, 10, false}, {5, 10, true}, {33, 60, true}} {
		if got := mayEvict(tc.lost, tc.all); got != tc.want {
			t.Errorf("%d of %d lost: %v", tc.lost, tc.all, got)
		}
	}
}

// setUp makes two ready nodes with a lease each, and a ready pod on the first.
func setUp(t *testing.T) (*inprocess.Client, *Controller, *controllertest.Events, *time.Time) {
	c := inprocesstest.New(t)
	clock := time.Now()
	events := &controllertest.Events{}
	ctl := New(c, events)
	ctl.now = func() time.Time { return clock }
	for _, name := range []string{"a", "b"} {
		made, err := api.Nodes.Create(t.Context(), c, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		made = made.DeepCopy()
		made.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(clock)}}
		if made, err = api.Nodes.UpdateStatus(t.Context(), c, made); err != nil {
			t.Fatal(err)
		}
		ctl.nodeChanged(api.Event{Type: api.Added, New: made})
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p"}, Spec: controllertest.Template("").Spec}
	p.Spec.NodeName = "a"
	made, err := api.Pods.Create(t.Context(), c, p)
	if err != nil {
		t.Fatal(err)
	}
	controllertest.SetPhase(t, c, made, corev1.PodRunning)
	return c, ctl, events, &clock
}

// follow tells the controller of what has changed since known.
func follow(c *inprocess.Client, ctl *Controller, known map[string]*corev1.Node) {
	for _, n := range api.Nodes.View(c).List("") {
		if old := known[n.Name]; old == nil {
			ctl.count(api.Event{Type: api.Added, New: n})
		} else if old != n {
			ctl.nodeChanged(api.Event{Type: api.Modified, Old: old, New: n})
		}
		known[n.Name] = n
	}
}

func renew(ctl *Controller, node string) {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: node}}
	ctl.leaseChanged(api.Event{Type: api.Modified, Old: l, New: l})
}

func TestALostNode(t *testing.T) {
	c, ctl, events, clock := setUp(t)
	known := map[string]*corev1.Node{}
	for _, n := range api.Nodes.View(c).List("") {
		known[n.Name] = n
	}
	sync := func() *corev1.Node {
		t.Helper()
		for _, name := range []string{"a", "b"} {
			follow(c, ctl, known)
			if err := ctl.sync(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		n, _ := api.Nodes.View(c).Get("", "a")
		return n
	}
	*clock = clock.Add(40 * time.Second)
	renew(ctl, "a")
	renew(ctl, "b")
	*clock = clock.Add(45 * time.Second)
	if n := sync(); ready(n) != corev1.ConditionTrue {
		t.Fatal("given up although the lease was renewed")
	}
	renew(ctl, "b")
	*clock = clock.Add(6 * time.Second)
	n := sync()
	if r := condition(n, corev1.NodeReady); r.Status != corev1.ConditionUnknown || r.Reason != "NodeStatusUnknown" || r.Message != "Kubelet stopped posting node status." {
		t.Errorf("ready condition %+v", r)
	}
	if show(n.Spec.Taints) != "unreachable:NoExecute unreachable:NoSchedule" {
		t.Errorf("taints %s", show(n.Spec.Taints))
	}
	if err := testutil.CollectAndCompare(zones{api.Nodes.View(c)}, strings.NewReader(`
# HELP node_collector_unhealthy_nodes_in_zone Gauge measuring number of not Ready Nodes per zones.
# TYPE node_collector_unhealthy_nodes_in_zone gauge
node_collector_unhealthy_nodes_in_zone{zone=""} 1
# HELP node_collector_zone_health Gauge measuring percentage of healthy nodes per zone.
# TYPE node_collector_zone_health gauge
node_collector_zone_health{zone=""} 50
# HELP node_collector_zone_size Gauge measuring number of registered Nodes per zones.
# TYPE node_collector_zone_size gauge
node_collector_zone_size{zone=""} 2
`)); err != nil {
		t.Error(err)
	}
	if p, _ := api.Pods.View(c).Get("default", "p"); pods.Ready(p) {
		t.Error("its pod is still ready")
	}
	for _, want := range []string{"Normal NodeNotReady Node a status is now: NodeNotReady", "Warning NodeNotReady Node is not ready"} {
		if !events.Contains(want) {
			t.Errorf("no event %q", want)
		}
	}
	if _, err := api.Nodes.Mutate(t.Context(), c, "", "a", "status", func(n *corev1.Node) (bool, error) {
		*condition(n, corev1.NodeReady) = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.NewTime(*clock)}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	renew(ctl, "a")
	if n = sync(); len(n.Spec.Taints) != 0 {
		t.Errorf("back again with taints %s", show(n.Spec.Taints))
	}
}

func TestAllNodesLostKeepTheirPods(t *testing.T) {
	c, ctl, _, clock := setUp(t)
	*clock = clock.Add(time.Minute)
	known := map[string]*corev1.Node{}
	for range 2 {
		for _, name := range []string{"a", "b"} {
			follow(c, ctl, known)
			if err := ctl.sync(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range api.Nodes.View(c).List("") {
		if show(n.Spec.Taints) != "unreachable:NoSchedule" {
			t.Errorf("%s has taints %s", n.Name, show(n.Spec.Taints))
		}
	}
}
