package status

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/node/kubeletconfig"
	"clipper/node/nodetest"
	"clipper/node/runtime"
)

// events remembers what was recorded.
type events struct {
	mu   sync.Mutex
	seen []string
}

func (e *events) EventAt(_ corev1.ObjectReference, eventType, reason, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, eventType+" "+reason+" "+fmt.Sprintf(format, args...))
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.seen
	e.seen = nil
	return out
}

// A rig is a reporter with everything around it in memory.
type rig struct {
	*Reporter
	client *nodetest.Client
	events *events

	mu       sync.Mutex
	pressure Pressure
}

func (g *rig) readPressure() (Pressure, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pressure, nil
}

func (g *rig) setPressure(p Pressure) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pressure = p
}

func newRig(change func(*Facts, *kubeletconfig.Configuration)) *rig {
	g := &rig{client: nodetest.NewClient(), events: &events{}}
	f := Facts{Name: "n", Hostname: "n", MaxPods: 110, MaxImages: 50, Machine: Machine{CPUs: 2, Memory: 4 << 30, Disk: 100 << 30},
		NotReady: map[Part]string{Network: "no network"}}
	f.Machine.Info.BootID = "first"
	f.Machine.Info.OperatingSystem, f.Machine.Info.Architecture = "linux", "amd64"
	config := kubeletconfig.Default()
	if change != nil {
		change(&f, config)
	}
	g.Reporter = New(Options{Client: g.client, Recorder: g.events, Facts: f, Config: config,
		Images:   func(context.Context) ([]runtime.Image, error) { return nil, nil },
		Pressure: g.readPressure})
	return g
}

func (g *rig) node(t *testing.T) *corev1.Node {
	t.Helper()
	n, err := api.Nodes.Get(context.Background(), g.client, "", "n")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// update changes the Node as somebody else would.
func (g *rig) update(t *testing.T, sub string, fn func(*corev1.Node)) {
	t.Helper()
	_, err := api.Nodes.Mutate(context.Background(), g.client, "", "n", sub, func(n *corev1.Node) (bool, error) {
		fn(n)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func condition(n *corev1.Node, t corev1.NodeConditionType) corev1.NodeCondition {
	i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == t })
	if i < 0 {
		return corev1.NodeCondition{}
	}
	return n.Status.Conditions[i]
}

// In virtual time: registration, readiness, pressure, cordon, and what is told of each.
func TestReporterTellsWhatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(nil)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := g.Register(ctx); err != nil {
			t.Fatal(err)
		}
		want := []string{
			"Normal NodeHasSufficientMemory Node n status is now: NodeHasSufficientMemory",
			"Normal NodeHasNoDiskPressure Node n status is now: NodeHasNoDiskPressure",
			"Normal NodeHasSufficientPID Node n status is now: NodeHasSufficientPID",
			"Normal Starting Starting kubelet.",
		}
		if got := g.events.take(); !slices.Equal(got, want) {
			t.Errorf("registering told %q", got)
		}
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		for _, step := range []struct {
			do   func()
			want string
		}{
			{func() { g.SetNotReady(Network, "") }, "Normal NodeReady Node n status is now: NodeReady"},
			{func() { g.SetNotReady(Shutdown, "node is shutting down") }, "Normal NodeNotReady Node n status is now: NodeNotReady"},
			{func() { g.SetNotReady(Shutdown, "") }, "Normal NodeReady Node n status is now: NodeReady"},
			{func() { g.setPressure(Pressure{Memory: true}) }, "Normal NodeHasInsufficientMemory Node n status is now: NodeHasInsufficientMemory"},
			{func() { g.update(t, "", func(n *corev1.Node) { n.Spec.Unschedulable = true }) }, "Normal NodeNotSchedulable Node n status is now: NodeNotSchedulable"},
			{func() { g.update(t, "", func(n *corev1.Node) { n.Spec.Unschedulable = false }) }, "Normal NodeSchedulable Node n status is now: NodeSchedulable"},
		} {
			step.do()
			time.Sleep(11 * time.Second)
			synctest.Wait()
			if got := g.events.take(); len(got) != 1 || got[0] != step.want {
				t.Errorf("told %q, want %q", got, step.want)
			}
		}
		cancel()
		<-done
	})
}

// A report comes every five minutes though nothing changes; the transition time stays.
func TestReporterHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(func(f *Facts, _ *kubeletconfig.Configuration) { f.NotReady = nil })
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := g.Register(ctx); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		time.Sleep(time.Minute)
		before := condition(g.node(t), corev1.NodeReady)
		time.Sleep(3 * time.Minute)
		if got := condition(g.node(t), corev1.NodeReady); got != before {
			t.Errorf("reported before it was due: %v, then %v", before, got)
		}
		time.Sleep(4 * time.Minute)
		after := condition(g.node(t), corev1.NodeReady)
		if !after.LastHeartbeatTime.After(before.LastHeartbeatTime.Time) || after.LastTransitionTime != before.LastTransitionTime {
			t.Errorf("after nine minutes %v, before %v", after, before)
		}
		cancel()
		<-done
	})
}

// A Node that somebody deletes comes back with its addresses; its lease belongs to the new one.
func TestReporterRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(nil)
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := g.Register(ctx); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		g.update(t, "", func(n *corev1.Node) { n.Spec.PodCIDR, n.Spec.PodCIDRs = "10.42.3.0/24", []string{"10.42.3.0/24"} })
		time.Sleep(11 * time.Second)
		old := g.node(t)
		if err := g.client.Delete(ctx, api.Nodes.Resource, "", "n", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := g.client.Delete(ctx, api.Leases.Resource, corev1.NamespaceNodeLease, "n", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Second) // two looks, two renewals of the lease; long before the next report is due
		n := g.node(t)
		if n.UID == old.UID || n.Spec.PodCIDR != "10.42.3.0/24" {
			t.Errorf("came back as %s with %q", n.UID, n.Spec.PodCIDR)
		}
		l, err := api.Leases.Get(ctx, g.client, corev1.NamespaceNodeLease, "n")
		if err != nil || len(l.OwnerReferences) != 1 || l.OwnerReferences[0].UID != n.UID {
			t.Errorf("lease %v, %v", l, err)
		}
		if since := time.Since(l.Spec.RenewTime.Time); since > 11*time.Second {
			t.Errorf("renewed %v ago", since)
		}
		cancel()
		<-done
	})
}

// After a restart of the agent: labels of its own are kept true, others left alone; a new boot is told.
func TestReporterOfKnownNode(t *testing.T) {
	g := newRig(func(f *Facts, c *kubeletconfig.Configuration) {
		f.Labels = map[string]string{"disk": "fast"}
		f.Taints = []corev1.Taint{{Key: "new", Effect: corev1.TaintEffectNoSchedule}}
	})
	ctx := t.Context()
	if _, err := g.Register(ctx); err != nil {
		t.Fatal(err)
	}
	g.update(t, "", func(n *corev1.Node) {
		n.Labels = map[string]string{"disk": "slow", "kubernetes.io/os": "plan9"}
		n.Spec.Taints = nil
	})
	g.events.take()
	next := newRig(func(f *Facts, c *kubeletconfig.Configuration) {
		f.Labels = map[string]string{"disk": "fast"}
		f.Machine.Info.BootID = "second"
		*c.RegisterNode = false // it is registered: that must not matter
	})
	next.opts.Client, next.opts.Recorder = g.client, g.events
	if _, err := next.Register(ctx); err != nil {
		t.Fatal(err)
	}
	n := g.node(t)
	if n.Labels["disk"] != "slow" || n.Labels["kubernetes.io/os"] != "linux" || len(n.Spec.Taints) != 0 {
		t.Errorf("labels %v, taints %v", n.Labels, n.Spec.Taints)
	}
	if got := g.events.take(); !slices.Contains(got, "Warning Rebooted Node n has been rebooted, boot id: second") {
		t.Errorf("told %q", got)
	}
}

func TestNotReadyJoinsReasons(t *testing.T) {
	for want, why := range map[string]map[Part]string{
		"":              nil,
		"no network":    {Network: "no network", Storage: ""},
		"[late, going]": {Shutdown: "going", Runtime: "late"},
	} {
		if got := (&Facts{NotReady: why}).notReady(); got != want {
			t.Errorf("%v is told as %q, want %q", why, got, want)
		}
	}
}

// An agent that starts again leaves a ready node ready, unless it does not come up or the machine has been started anew.
func TestReporterSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := func(f *Facts, _ *kubeletconfig.Configuration) { f.NotReady, f.Settling = nil, true }
		g := newRig(ready)
		if _, err := g.Register(t.Context()); err != nil {
			t.Fatal(err)
		}
		var next *rig
		restart := func(boot string) (stop func()) {
			next = newRig(func(f *Facts, _ *kubeletconfig.Configuration) { f.Settling, f.Machine.Info.BootID = true, boot })
			next.opts.Client = g.client
			next.lease.client = g.client
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := next.Register(ctx); err != nil {
				t.Fatal(err)
			}
			done := make(chan error)
			go func() { done <- next.Run(ctx) }()
			return func() { cancel(); <-done }
		}
		look := func(after time.Duration, want corev1.ConditionStatus) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := condition(g.node(t), corev1.NodeReady).Status; got != want {
				t.Errorf("after %v the node is ready: %s, want %s", after, got, want)
			}
		}
		stop := restart("first")
		next.SetNotReady(Shutdown, "") // which says nothing about the network
		look(20*time.Second, corev1.ConditionTrue)
		look(30*time.Second, corev1.ConditionFalse)
		stop()
		g.SetNotReady(Network, "")
		if err := g.report(t.Context(), g.Facts(), true); err != nil {
			t.Fatal(err)
		}
		look(0, corev1.ConditionTrue)
		stop = restart("first")
		look(time.Second, corev1.ConditionTrue)
		next.SetNotReady(Network, "")
		look(time.Second, corev1.ConditionTrue)
		if told := condition(g.node(t), corev1.NodeReady).LastHeartbeatTime.Time; time.Since(told) > time.Second {
			t.Errorf("that the node is ready still was told %v ago, by the agent before", time.Since(told))
		}
		stop()
		stop = restart("second")
		look(time.Second, corev1.ConditionFalse)
		stop()
	})
}
