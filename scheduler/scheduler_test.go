package scheduler

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/api/apitest"
)

func testNode(name string, cpu string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return n
}

func testPod(name, cpu string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name)}}
	p.Spec.SchedulerName = Name
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "app", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("64Mi")}}}}
	return p
}

// events keeps what is recorded.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) Event(obj api.Object, _, reason, format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, obj.GetName()+" "+reason+" "+fmt.Sprintf(format, args...))
}

func (e *events) has(s string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.list {
		if strings.Contains(l, s) {
			return true
		}
	}
	return false
}

// bindable answers bindings as the API server does.
func bindable() *apitest.Client {
	c := &apitest.Client{}
	c.Subresource = func(r api.Resource, namespace, name, sub string, body api.Object) (api.Object, error) {
		if sub != "binding" {
			return nil, apierrors.NewMethodNotSupported(r.GroupResource(), sub)
		}
		b := body.(*corev1.Binding)
		_, err := api.Pods.Mutate(context.Background(), c, namespace, name, "", func(p *corev1.Pod) (bool, error) {
			if p.UID != b.UID {
				return false, apierrors.NewConflict(r.GroupResource(), name, errors.New("another pod of that name"))
			}
			if p.Spec.NodeName != "" {
				return false, apierrors.NewConflict(r.GroupResource(), name, fmt.Errorf("pod %s is already assigned to node %q", name, p.Spec.NodeName))
			}
			p.Spec.NodeName = b.Target.Name
			return true, nil
		})
		return b, err
	}
	return c
}

// start runs a scheduler in the bubble until the test ends.
func start(t *testing.T, c *apitest.Client) *events {
	t.Helper()
	rec := &events{}
	s := newScheduler(c, rec)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return rec
}

func nodeOf(c *apitest.Client, pod string) string {
	if p, ok := api.Pods.View(c).Get("default", pod); ok {
		return p.Spec.NodeName
	}
	return "<gone>"
}

func TestRunBindsAndReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bindable()
		c.Add(api.Nodes.Resource, testNode("n1", "2"))
		rec := start(t, c)
		c.Add(api.Pods.Resource, testPod("a", "1"), testPod("b", "4"))
		other := testPod("other", "1")
		other.Spec.SchedulerName = "someone-else"
		c.Add(api.Pods.Resource, other)
		synctest.Wait()
		if nodeOf(c, "a") != "n1" || nodeOf(c, "b") != "" || nodeOf(c, "other") != "" {
			t.Errorf("nodes: a %q b %q other %q", nodeOf(c, "a"), nodeOf(c, "b"), nodeOf(c, "other"))
		}
		for _, want := range []string{"a Scheduled Successfully assigned default/a to n1", "b FailedScheduling 0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."} {
			if !rec.has(want) {
				t.Errorf("no event %q in %q", want, rec.list)
			}
		}
		b, _ := api.Pods.View(c).Get("default", "b")
		if len(b.Status.Conditions) != 1 || b.Status.Conditions[0].Reason != corev1.PodReasonUnschedulable || b.Status.Conditions[0].Status != corev1.ConditionFalse {
			t.Errorf("conditions of b: %+v", b.Status.Conditions)
		}
		// Room appears: the pod is placed without anyone asking again.
		c.Add(api.Nodes.Resource, testNode("n2", "8"))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if nodeOf(c, "b") != "n2" {
			t.Errorf("b is on %q", nodeOf(c, "b"))
		}
	})
}

func TestFailedBindingIsTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bindable()
		refusals := 3
		c.Before = func(verb string, _ api.Resource, _ api.Object) error {
			if verb == "binding" && refusals > 0 {
				refusals--
				return apierrors.NewInternalError(errors.New("disk full"))
			}
			return nil
		}
		c.Add(api.Nodes.Resource, testNode("n1", "1"))
		rec := start(t, c)
		c.Add(api.Pods.Resource, testPod("a", "1"))
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if nodeOf(c, "a") != "n1" || !rec.has("a FailedScheduling binding rejected: ") {
			t.Errorf("a is on %q after 30 s; events %q", nodeOf(c, "a"), rec.list)
		}
	})
}

func TestPreemptionFreesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bindable()
		c.Add(api.Nodes.Resource, testNode("n1", "2"))
		low := testPod("low", "2")
		low.Spec.NodeName = "n1"
		c.Add(api.Pods.Resource, low)
		rec := start(t, c)
		high := testPod("high", "1")
		priority := int32(1000)
		high.Spec.Priority = &priority
		c.Add(api.Pods.Resource, high)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if nodeOf(c, "low") != "<gone>" || nodeOf(c, "high") != "n1" {
			t.Errorf("low on %q, high on %q", nodeOf(c, "low"), nodeOf(c, "high"))
		}
		if !rec.has("low Preempted Preempted by pod uid-high on node n1") {
			t.Errorf("events %q", rec.list)
		}
	})
}

func TestDelayedVolumeIsReservedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bindable()
		c.Add(api.Nodes.Resource, testNode("n1", "2"))
		mode := storagev1.VolumeBindingWaitForFirstConsumer
		class := "local"
		c.Add(api.StorageClasses.Resource, &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: class}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: &mode})
		storage := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		pv := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "disk"}}
		pv.Spec.StorageClassName, pv.Spec.Capacity, pv.Status.Phase = class, storage, corev1.VolumeAvailable
		c.Add(api.PersistentVolumes.Resource, pv)
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: "c"}}
		claim.Spec.StorageClassName, claim.Spec.Resources.Requests = &class, storage
		c.Add(api.PersistentVolumeClaims.Resource, claim)
		start(t, c)
		pod := testPod("a", "1")
		pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}}
		c.Add(api.Pods.Resource, pod)
		synctest.Wait()
		reserved, _ := api.PersistentVolumes.View(c).Get("", "disk")
		if ref := reserved.Spec.ClaimRef; ref == nil || ref.Name != "data" || nodeOf(c, "a") != "" {
			t.Fatalf("claimRef %+v, pod on %q before the claim is bound", ref, nodeOf(c, "a"))
		}
		// What the volume controller does next.
		if _, err := api.PersistentVolumeClaims.Mutate(t.Context(), c, "default", "data", "", func(p *corev1.PersistentVolumeClaim) (bool, error) {
			p.Spec.VolumeName, p.Status.Phase = "disk", corev1.ClaimBound
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if nodeOf(c, "a") != "n1" {
			t.Errorf("a is on %q", nodeOf(c, "a"))
		}
	})
}

// The target: 1,000 nodes, 5,000 pods. Decisions and the events that follow them, without the writes.
func BenchmarkThousandNodes(b *testing.B) {
	for _, kind := range []string{"plain", "spread", "replicas", "affinity"} {
		b.Run(kind, func(b *testing.B) {
			var c apitest.Client
			s := newScheduler(&c, &events{})
			for i := range 1000 {
				n := testNode(fmt.Sprintf("node-%d", i), "32")
				n.Labels[corev1.LabelTopologyZone] = fmt.Sprintf("zone-%d", i%5)
				s.nodeEvent(api.Event{Type: api.Added, New: n})
			}
			if kind == "replicas" {
				svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
				svc.Spec.Selector = map[string]string{"app": "web"}
				c.Add(api.Services.Resource, svc)
			}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%5000 == 0 {
					b.StopTimer()
					for i := range n {
						s.podEvent(api.Event{Type: api.Deleted, Old: bound(kind, i, "")})
					}
					n = 0
					b.StartTimer()
				}
				s.podEvent(api.Event{Type: api.Added, New: bound(kind, n, "")})
				o, _ := s.step()
				s.podEvent(api.Event{Type: api.Modified, Old: bound(kind, n, ""), New: bound(kind, n, o.binding.node)})
				n++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

func bound(kind string, i int, node string) *corev1.Pod {
	p := testPod(fmt.Sprintf("pod-%d", i), "100m")
	p.Spec.NodeName = node
	p.Labels = map[string]string{"app": "web"}
	same := &metav1.LabelSelector{MatchLabels: p.Labels}
	switch kind {
	case "spread":
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: corev1.LabelTopologyZone, MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: same}}
	case "affinity":
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelTopologyZone, LabelSelector: same}}}}
	}
	return p
}
