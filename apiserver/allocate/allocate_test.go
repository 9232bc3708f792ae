package allocate

import (
	"context"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

func service(name string, change func(*corev1.ServiceSpec)) *corev1.Service {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"a": "b"},
		Ports: []corev1.ServicePort{{Name: "p", Port: 80, Protocol: corev1.ProtocolTCP}}}}
	if change != nil {
		change(&svc.Spec)
	}
	return svc
}

// admit runs one request and returns what undoes it.
func admit(t *testing.T, a *Allocator, svc, old *corev1.Service) (undo func(), err error) {
	t.Helper()
	at := &admission.Attributes{Operation: admission.Create, Resource: api.Services.Resource, Namespace: svc.Namespace, Name: svc.Name, Object: svc}
	if old != nil {
		at.Operation, at.Old = admission.Update, old
	}
	var undos []func()
	at.Undo = func(fn func()) { undos = append(undos, fn) }
	undo = func() {
		for _, fn := range slices.Backward(undos) {
			fn()
		}
	}
	if err := a.Admit(t.Context(), at); err != nil {
		undo()
		return nil, err
	}
	return undo, nil
}

func TestCreate(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.Services.Resource, service("dns", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs = "10.96.0.10", []string{"10.96.0.10"}
		s.Type, s.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30053
	}))
	yes := false
	for _, tt := range []struct {
		name  string
		svc   *corev1.Service
		check func(corev1.ServiceSpec) bool
		err   string
	}{
		{name: "any address", svc: service("a", nil), check: func(s corev1.ServiceSpec) bool {
			ip := netip.MustParseAddr(s.ClusterIP)
			return netip.MustParsePrefix("10.96.0.0/16").Contains(ip) && !ip.Less(netip.MustParseAddr("10.96.1.0")) &&
				s.ClusterIPs[0] == s.ClusterIP && *s.IPFamilyPolicy == "SingleStack" && s.IPFamilies[0] == "IPv4"
		}},
		{name: "given address", svc: service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.11" }),
			check: func(s corev1.ServiceSpec) bool { return s.ClusterIPs[0] == "10.96.0.11" }},
		{name: "taken address", svc: service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.10" }),
			err: `spec.clusterIPs: Invalid value: ["10.96.0.10"]: failed to allocate IP 10.96.0.10: provided IP is already allocated`},
		{name: "address outside", svc: service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.97.0.10" }),
			err: "failed to allocate IP 10.97.0.10: the provided network does not match the current range"},
		{name: "headless", svc: service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = "None" }),
			check: func(s corev1.ServiceSpec) bool {
				return s.ClusterIPs[0] == "None" && *s.IPFamilyPolicy == "SingleStack"
			}},
		{name: "headless without selector", svc: service("a", func(s *corev1.ServiceSpec) { s.ClusterIP, s.Selector = "None", nil }),
			check: func(s corev1.ServiceSpec) bool {
				return *s.IPFamilyPolicy == "RequireDualStack" && len(s.IPFamilies) == 2
			}},
		{name: "external name", svc: service("a", func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = "ExternalName", "x.example" }),
			check: func(s corev1.ServiceSpec) bool {
				return s.ClusterIP == "" && s.IPFamilies == nil && s.IPFamilyPolicy == nil
			}},
		{name: "dual stack required", svc: service("a", func(s *corev1.ServiceSpec) { p := corev1.IPFamilyPolicyRequireDualStack; s.IPFamilyPolicy = &p }),
			err: "this cluster is not configured for dual-stack services"},
		{name: "dual stack preferred", svc: service("a", func(s *corev1.ServiceSpec) { p := corev1.IPFamilyPolicyPreferDualStack; s.IPFamilyPolicy = &p }),
			check: func(s corev1.ServiceSpec) bool { return len(s.IPFamilies) == 1 && len(s.ClusterIPs) == 1 }},
		{name: "other family", svc: service("a", func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{"IPv6"} }),
			err: "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"},
		{name: "node port", svc: service("a", func(s *corev1.ServiceSpec) { s.Type = "NodePort" }),
			check: func(s corev1.ServiceSpec) bool { return s.Ports[0].NodePort >= 30086 && s.Ports[0].NodePort <= 32767 }},
		{name: "given node port", svc: service("a", func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", 30001 }),
			check: func(s corev1.ServiceSpec) bool { return s.Ports[0].NodePort == 30001 }},
		{name: "taken node port", svc: service("a", func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", 30053 }),
			err: "spec.ports[0].nodePort: Invalid value: 30053: provided port is already allocated"},
		{name: "node port outside", svc: service("a", func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", 80 }),
			err: "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767"},
		{name: "two protocols share", svc: service("a", func(s *corev1.ServiceSpec) {
			s.Type = "NodePort"
			s.Ports = append(s.Ports, corev1.ServicePort{Name: "u", Port: 80, Protocol: corev1.ProtocolUDP})
		}), check: func(s corev1.ServiceSpec) bool {
			return s.Ports[0].NodePort != 0 && s.Ports[0].NodePort == s.Ports[1].NodePort
		}},
		{name: "load balancer without node ports", svc: service("a", func(s *corev1.ServiceSpec) {
			s.Type, s.AllocateLoadBalancerNodePorts = "LoadBalancer", &yes
		}), check: func(s corev1.ServiceSpec) bool { return s.Ports[0].NodePort == 0 && s.ClusterIP != "" }},
		{name: "local load balancer", svc: service("a", func(s *corev1.ServiceSpec) { s.Type, s.ExternalTrafficPolicy = "LoadBalancer", "Local" }),
			check: func(s corev1.ServiceSpec) bool {
				return s.HealthCheckNodePort != 0 && s.HealthCheckNodePort != s.Ports[0].NodePort
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := admit(t, New(c, Config{}), tt.svc, nil)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(tt.svc.Spec) {
				t.Errorf("spec is %+v", tt.svc.Spec)
			}
		})
	}
}

func TestUpdateKeepsAndChanges(t *testing.T) {
	c := &apitest.Client{}
	old := service("web", func(s *corev1.ServiceSpec) {
		s.Type, s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "NodePort", "10.96.7.7", []string{"10.96.7.7"}, 30500
	})
	c.Add(api.Services.Resource, old)
	a := New(c, Config{})
	next := service("web", func(s *corev1.ServiceSpec) { s.Type = "NodePort" }) // a manifest without allocated values
	if _, err := admit(t, a, next, old); err != nil {
		t.Fatal(err)
	}
	if next.Spec.ClusterIP != "10.96.7.7" || next.Spec.Ports[0].NodePort != 30500 {
		t.Errorf("values were not kept: %+v", next.Spec)
	}
	more := service("web", func(s *corev1.ServiceSpec) {
		s.Type = "NodePort"
		s.Ports = append(s.Ports, corev1.ServicePort{Name: "q", Port: 81, Protocol: "TCP", NodePort: 30500})
	})
	if _, err := admit(t, a, more, old); err != nil {
		t.Fatal(err)
	}
	if p := more.Spec.Ports; p[1].NodePort != 30500 || p[0].NodePort == 30500 || p[0].NodePort == 0 {
		t.Errorf("a port that moved: %+v", p)
	}
}

// A changed clusterIP reaches clusterIPs, where validation refuses the change; nothing is repaired in silence.
func TestUpdateOfAddressIsShown(t *testing.T) {
	for was, is := range map[string]string{
		"None":      "10.96.0.99",
		"10.96.0.7": "10.96.0.99",
		"10.96.0.8": "1.2.3.4", // outside of every range: that it may not change comes first
	} {
		old := service("h", func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = was, []string{was} })
		next := old.DeepCopy()
		next.Spec.ClusterIP = is
		if _, err := admit(t, New(&apitest.Client{}, Config{}), next, old); err != nil {
			t.Errorf("%s to %s: %v", was, is, err)
		}
		if next.Spec.ClusterIP != is || next.Spec.ClusterIPs[0] != is {
			t.Errorf("spec is %+v", next.Spec)
		}
	}
}

func TestUndoAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		a := New(c, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}}) // two addresses
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		first := service("a", nil)
		undo, err := admit(t, a, first, nil)
		if err != nil {
			t.Fatal(err)
		}
		second := service("b", nil)
		if _, err := admit(t, a, second, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := admit(t, a, service("c", nil), nil); err == nil || !strings.Contains(err.Error(), "range is full") {
			t.Fatalf("a third address in a range of two: %v", err)
		}
		undo()
		again := service("c", nil)
		if _, err := admit(t, a, again, nil); err != nil || again.Spec.ClusterIP != first.Spec.ClusterIP {
			t.Fatalf("what was undone is not free: %v %s", err, again.Spec.ClusterIP)
		}
		for _, svc := range []*corev1.Service{second, again} {
			if _, err := api.Services.Create(ctx, c, svc); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		// Deleted and made again at once, before the allocator has heard of it.
		if err := api.Services.Delete(ctx, c, "ns", "b", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		same := service("b", func(s *corev1.ServiceSpec) { s.ClusterIP = second.Spec.ClusterIP })
		if _, err := admit(t, a, same, nil); err != nil {
			t.Errorf("the address of a deleted service: %v", err)
		}
		// That request dies without a trace: its claim lapses.
		time.Sleep(inFlight)
		if _, err := admit(t, a, same.DeepCopy(), nil); err != nil {
			t.Errorf("a claim that lapsed: %v", err)
		}
		cancel()
		<-done
	})
}

// Against an obvious twin: no two live services ever share an address or a port, and nothing is lost.
func TestNeverTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		a := New(c, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/27")}, FirstNodePort: 30000, LastNodePort: 30029})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		rng := rand.New(rand.NewPCG(1, 2))
		live := map[string]*corev1.Service{}
		for i := range 3000 {
			n := string(rune('a' + rng.IntN(26)))
			if old, ok := live[n]; ok {
				if err := api.Services.Delete(ctx, c, "ns", old.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				delete(live, n)
			} else {
				svc := service(n, func(s *corev1.ServiceSpec) { s.Type = "NodePort" })
				undo, err := admit(t, a, svc, nil)
				if err != nil {
					t.Fatalf("step %d, %d live: %v", i, len(live), err)
				}
				if rng.IntN(5) == 0 {
					undo()
				} else {
					if _, err := api.Services.Create(ctx, c, svc); err != nil {
						t.Fatal(err)
					}
					live[n] = svc
				}
			}
			if rng.IntN(3) == 0 {
				synctest.Wait()
			}
			seen := map[any]string{}
			for name, svc := range live {
				for _, k := range []any{svc.Spec.ClusterIP, svc.Spec.Ports[0].NodePort} {
					if by, dup := seen[k]; dup {
						t.Fatalf("step %d: %v belongs to %s and %s", i, k, by, name)
					}
					seen[k] = name
				}
			}
		}
		cancel()
		<-done
	})
}

func BenchmarkAdmit(b *testing.B) {
	a := New(&apitest.Client{}, Config{})
	at := &admission.Attributes{Operation: admission.Create, Resource: api.Services.Resource, Namespace: "ns", Name: "x"}
	var undo func()
	at.Undo = func(fn func()) { undo = fn }
	for b.Loop() {
		at.Object = service("x", nil)
		if err := a.Admit(b.Context(), at); err != nil {
			b.Fatal(err)
		}
		undo()
	}
}

// Addresses also come from every ServiceCIDR that is ready; those that an IPAddress keeps for others do not.
func TestRangesAndReservations(t *testing.T) {
	cidr := func(name, prefix string, ready metav1.ConditionStatus) *networkingv1.ServiceCIDR {
		return &networkingv1.ServiceCIDR{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{prefix}},
			Status:     networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: ready}}},
		}
	}
	going := cidr("going", "10.3.0.0/24", metav1.ConditionTrue)
	going.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
	c := &apitest.Client{}
	c.Add(api.ServiceCIDRs.Resource, cidr("more", "10.1.0.0/29", metav1.ConditionTrue), cidr("later", "10.2.0.0/24", metav1.ConditionFalse), going)
	c.Add(api.IPAddresses.Resource, &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: "10.1.0.5"},
		Spec:       networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}},
	})
	a := New(c, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/30")}}) // two addresses
	for ip, want := range map[string]string{
		"10.1.0.1": "", "10.2.0.1": errOutside.Error(), "10.3.0.1": errOutside.Error(), "10.1.0.5": errAllocated.Error(),
	} {
		undo, err := admit(t, a, service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = ip }), nil)
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.HasSuffix(err.Error(), want)):
			t.Errorf("%s: got %v, want %q", ip, err, want)
		case err == nil:
			undo()
		}
	}
	given := map[string]bool{}
	for range 7 { // two of the first range; of the six of the second one is kept
		svc := service("s", nil)
		if _, err := admit(t, a, svc, nil); err != nil {
			t.Fatal(err)
		}
		given[svc.Spec.ClusterIP] = true
	}
	if _, err := admit(t, a, service("one too many", nil), nil); len(given) != 7 || given["10.1.0.5"] || err == nil {
		t.Errorf("given %v, then %v", given, err)
	}
}

// TestRangesOfTheServer: the range that the server was started with is used while no object names it, and goes with the
// objects that do.
func TestRangesOfTheServer(t *testing.T) {
	object := func(name, prefix string, change func(*networkingv1.ServiceCIDR)) *networkingv1.ServiceCIDR {
		c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{prefix}}}
		if change != nil {
			change(c)
		}
		return c
	}
	going := func(c *networkingv1.ServiceCIDR) { c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
	unready := func(c *networkingv1.ServiceCIDR) {
		c.Status.Conditions = []metav1.Condition{{Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse}}
	}
	for name, tt := range map[string]struct {
		objects []*networkingv1.ServiceCIDR
		want    string
	}{
		"no object":              {nil, ""},
		"an object not judged":   {[]*networkingv1.ServiceCIDR{object("kubernetes", "10.0.0.0/24", nil)}, ""},
		"a going object":         {[]*networkingv1.ServiceCIDR{object("kubernetes", "10.0.0.0/24", going)}, "does not match the current range"},
		"an object not ready":    {[]*networkingv1.ServiceCIDR{object("kubernetes", "10.0.0.0/24", unready)}, "does not match the current range"},
		"a second of the same":   {[]*networkingv1.ServiceCIDR{object("kubernetes", "10.0.0.0/24", going), object("too", "10.0.0.0/24", nil)}, ""},
		"a larger one around it": {[]*networkingv1.ServiceCIDR{object("kubernetes", "10.0.0.0/24", going), object("too", "10.0.0.0/16", nil)}, ""},
	} {
		c := &apitest.Client{}
		for _, o := range tt.objects {
			c.Add(api.ServiceCIDRs.Resource, o)
		}
		a := New(c, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}})
		_, err := admit(t, a, service("a", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.0.0.7" }), nil)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
	}
}

// TestSizes: how many addresses a range gives, and whether it gives one.
func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{
		"10.0.0.0/24": 254, "10.0.0.0/30": 2, "10.0.0.0/31": 0, "10.0.0.0/32": 0,
		"fd00::/126": 3, "fd00::/127": 1, "fd00::/128": 0, "fd00::/64": math.MaxInt64,
	} {
		if got := addressBands(netip.MustParsePrefix(text)).size; got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
	for _, tt := range []struct {
		prefix, ip string
		want       bool
	}{
		{"10.0.0.0/30", "10.0.0.0", false}, {"10.0.0.0/30", "10.0.0.1", true}, {"10.0.0.0/30", "10.0.0.3", false}, {"10.0.0.0/30", "10.0.0.4", false},
		{"255.255.255.252/30", "255.255.255.255", false}, {"fd00::/126", "fd00::", false}, {"fd00::/126", "fd00::3", true},
	} {
		if got := Holds(netip.MustParsePrefix(tt.prefix), netip.MustParseAddr(tt.ip)); got != tt.want {
			t.Errorf("%s holds %s: %t", tt.prefix, tt.ip, got)
		}
	}
}
