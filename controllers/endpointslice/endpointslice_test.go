package endpointslice

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/controllers/controllertest"
	"clipper/controllers/owner"
)

func service(target string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "svc", Labels: map[string]string{"team": "a"}},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, ClusterIP: "10.43.0.9", ClusterIPs: []string{"10.43.0.9"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.Parse(target)}},
		},
	}
}

func pod(n int, ready bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("web-", n), UID: types.UID(fmt.Sprint("uid-", n))},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: int32(8000 + n%2), Protocol: corev1.ProtocolTCP}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.42.%d.%d", n/250, n%250)},
	}
	st := corev1.ConditionFalse
	if ready {
		st = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: st}}
	return p
}

func zoneA(string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: "a"}}}
}

func TestEndpointConditions(t *testing.T) {
	for _, tc := range []struct {
		name                             string
		change                           func(*corev1.Pod, *corev1.Service)
		listed, ready, serving, stopping bool
	}{
		{"ready", func(*corev1.Pod, *corev1.Service) {}, true, true, true, false},
		{"not ready", func(p *corev1.Pod, _ *corev1.Service) { p.Status.Conditions = nil }, true, false, false, false},
		{"published all the same", func(p *corev1.Pod, s *corev1.Service) {
			p.Status.Conditions, s.Spec.PublishNotReadyAddresses = nil, true
		}, true, true, false, false},
		{"terminating", func(p *corev1.Pod, _ *corev1.Service) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }, true, false, true, true},
		{"without address", func(p *corev1.Pod, _ *corev1.Service) { p.Status.PodIP = "" }, false, false, false, false},
		{"finished", func(p *corev1.Pod, _ *corev1.Service) { p.Status.Phase = corev1.PodSucceeded }, false, false, false, false},
		{"of the other family", func(p *corev1.Pod, _ *corev1.Service) { p.Status.PodIP = "fd00::1" }, false, false, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, svc := pod(1, true), service("8080")
			tc.change(p, svc)
			got := plan(svc, []*corev1.Pod{p}, zoneA, nil).Create
			if len(got) != 1 || len(got[0].Endpoints) == 1 != tc.listed {
				t.Fatalf("slices %+v", got)
			}
			if !tc.listed {
				return
			}
			e := got[0].Endpoints[0]
			if *e.Conditions.Ready != tc.ready || *e.Conditions.Serving != tc.serving || *e.Conditions.Terminating != tc.stopping {
				t.Errorf("ready %v, serving %v, terminating %v", *e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating)
			}
			if *e.Zone != "a" || *e.NodeName != "n1" || e.TargetRef.Name != "web-1" {
				t.Errorf("endpoint %+v", e)
			}
		})
	}
}

func TestSliceOfAService(t *testing.T) {
	s := plan(service("8080"), []*corev1.Pod{pod(1, true)}, zoneA, nil).Create[0]
	want := map[string]string{"team": "a", discoveryv1.LabelServiceName: "web", discoveryv1.LabelManagedBy: ManagedBy}
	if fmt.Sprint(s.Labels) != fmt.Sprint(want) || s.GenerateName != "web-" || s.OwnerReferences[0].UID != "svc" || *s.Ports[0].Port != 8080 {
		t.Errorf("slice %+v", s)
	}
	headless := service("8080")
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	if _, ok := plan(headless, nil, zoneA, nil).Create[0].Labels[corev1.IsHeadlessService]; !ok {
		t.Error("a headless service's slice is not marked")
	}
	close := corev1.ServiceTrafficDistributionPreferClose
	near := service("8080")
	near.Spec.TrafficDistribution = &close
	if h := plan(near, []*corev1.Pod{pod(1, true)}, zoneA, nil).Create[0].Endpoints[0].Hints; h == nil || h.ForZones[0].Name != "a" {
		t.Errorf("hints %+v", h)
	}
}

func TestNamedPortsSplitSlices(t *testing.T) {
	got := plan(service("web"), []*corev1.Pod{pod(1, true), pod(2, true), pod(3, true)}, zoneA, nil).Create
	if len(got) != 2 || *got[0].Ports[0].Port != 8000 || len(got[0].Endpoints) != 1 || *got[1].Ports[0].Port != 8001 || len(got[1].Endpoints) != 2 {
		t.Errorf("slices %+v", got)
	}
}

// TestRandomHistories lets pods come, go and change, and checks after each step that the slices hold just
// the pods, that none is over-full, and that a single change writes few slices.
func TestRandomHistories(t *testing.T) {
	for seed := range uint64(3) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		svc := service("8080")
		alive := map[int]*corev1.Pod{}
		var slices []*discoveryv1.EndpointSlice
		serial := 0
		for step := range 50 {
			changes := 1
			if rnd.IntN(10) == 0 {
				changes = 150
			}
			for range changes {
				if n := rnd.IntN(400); alive[n] == nil || rnd.IntN(3) == 0 {
					alive[n] = pod(n, rnd.IntN(2) == 0)
				} else {
					delete(alive, n)
				}
			}
			var backing []*corev1.Pod
			for n := range 400 {
				if alive[n] != nil {
					backing = append(backing, alive[n])
				}
			}
			p := plan(svc, backing, zoneA, slices)
			if changes == 1 && len(p.Create)+len(p.Update)+len(p.Delete) > 2 {
				t.Fatalf("seed %d step %d: one change writes %d+%d+%d slices", seed, step, len(p.Create), len(p.Update), len(p.Delete))
			}
			slices = apply(slices, p, &serial)
			check(t, seed, step, slices, backing)
			if again := plan(svc, backing, zoneA, slices); len(again.Create)+len(again.Update)+len(again.Delete) > 0 {
				t.Fatalf("seed %d step %d: not settled: %+v", seed, step, again)
			}
		}
	}
}

func apply(slices []*discoveryv1.EndpointSlice, p Plan, serial *int) []*discoveryv1.EndpointSlice {
	var out []*discoveryv1.EndpointSlice
next:
	for _, s := range slices {
		for _, d := range p.Delete {
			if d.Name == s.Name {
				continue next
			}
		}
		for _, u := range p.Update {
			if u.Name == s.Name {
				s = u
			}
		}
		out = append(out, s)
	}
	for _, c := range p.Create {
		*serial++
		c.Name = fmt.Sprint("web-", *serial)
		out = append(out, c)
	}
	return out
}

func check(t *testing.T, seed uint64, step int, slices []*discoveryv1.EndpointSlice, backing []*corev1.Pod) {
	t.Helper()
	seen := map[string]bool{}
	for _, s := range slices {
		if len(s.Endpoints) > maxEndpoints || len(s.Endpoints) == 0 && len(slices) > 1 {
			t.Fatalf("seed %d step %d: a slice of %d endpoints among %d", seed, step, len(s.Endpoints), len(slices))
		}
		for _, e := range s.Endpoints {
			if seen[e.TargetRef.Name] {
				t.Fatalf("seed %d step %d: %s is listed twice", seed, step, e.TargetRef.Name)
			}
			seen[e.TargetRef.Name] = true
		}
	}
	if len(seen) != len(backing) || len(slices) == 0 {
		t.Fatalf("seed %d step %d: %d endpoints in %d slices for %d pods", seed, step, len(seen), len(slices), len(backing))
	}
}

func TestAgainstTheAPI(t *testing.T) {
	c := inprocesstest.New(t)
	ctl := New(c, &controllertest.Events{})
	svc := service("8080")
	svc.UID = ""
	if _, err := api.Services.Create(t.Context(), c, svc); err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p", Labels: map[string]string{"app": "web"}}, Spec: controllertest.Template("").Spec}
	if _, err := api.Pods.Create(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
	sync := func() []*discoveryv1.EndpointSlice {
		t.Helper()
		if err := ctl.sync(t.Context(), owner.KeyOf(svc)); err != nil {
			t.Fatal(err)
		}
		return api.EndpointSlices.View(c).ByIndex(api.ByService, "default/web")
	}
	if got := sync(); len(got) != 1 || len(got[0].Endpoints) != 0 {
		t.Errorf("without an address: %+v", got)
	}
	if _, err := api.Pods.Mutate(t.Context(), c, "default", "p", "status", func(p *corev1.Pod) (bool, error) {
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, "10.42.0.7", []corev1.PodIP{{IP: "10.42.0.7"}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := sync(); len(got) != 1 || len(got[0].Endpoints) != 1 || !*got[0].Endpoints[0].Conditions.Ready {
		t.Errorf("with an address: %+v", got)
	}
	if err := testutil.CollectAndCompare(Collectors(c)[5], strings.NewReader(`
# HELP endpoint_slice_controller_desired_endpoint_slices Number of EndpointSlices that would exist with perfect endpoint allocation
# TYPE endpoint_slice_controller_desired_endpoint_slices gauge
endpoint_slice_controller_desired_endpoint_slices 1
# HELP endpoint_slice_controller_endpoints_desired Number of endpoints desired
# TYPE endpoint_slice_controller_endpoints_desired gauge
endpoint_slice_controller_endpoints_desired 1
# HELP endpoint_slice_controller_num_endpoint_slices Number of EndpointSlices
# TYPE endpoint_slice_controller_num_endpoint_slices gauge
endpoint_slice_controller_num_endpoint_slices 1
`)); err != nil {
		t.Error(err)
	}
	for operation, want := range map[string]float64{"create": 2, "update": 0, "delete": 1} { // the empty slice has other ports
		if n := testutil.ToFloat64(changes.WithLabelValues(operation)); n != want {
			t.Errorf("%s: %v counted, want %v", operation, n, want)
		}
	}
	if n := testutil.ToFloat64(syncs.WithLabelValues("success")); n != 2 {
		t.Errorf("%v syncs counted", n)
	}
	rv := sync()[0].ResourceVersion
	if got := sync(); got[0].ResourceVersion != rv {
		t.Error("a sync without a change wrote")
	}
}

// TestObserve: of two endpoints one goes and one comes.
func TestObserve(t *testing.T) {
	svc := service("8080")
	have := plan(svc, []*corev1.Pod{pod(1, true), pod(2, true)}, zoneA, nil).Create
	p := plan(svc, []*corev1.Pod{pod(2, true), pod(3, true)}, zoneA, have)
	if come, gone := p.turnover(have); come != 1 || gone != 1 {
		t.Errorf("%d came, %d went", come, gone)
	}
	observe(svc, have, p)
	if n := testutil.CollectAndCount(changed); n != 1 {
		t.Errorf("%d series", n)
	}
}
