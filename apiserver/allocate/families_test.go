package allocate

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/api/apitest"
)

// TestDualStack goes from one state of a service to the next in a cluster with both families. A state is the
// policy, the families and what is known of the addresses.
func TestDualStack(t *testing.T) {
	const (
		single  = corev1.IPFamilyPolicySingleStack
		prefer  = corev1.IPFamilyPolicyPreferDualStack
		require = corev1.IPFamilyPolicyRequireDualStack
	)
	set := func(policy corev1.IPFamilyPolicy, families []corev1.IPFamily, ips ...string) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) {
			if s.IPFamilyPolicy = &policy; policy == "" {
				s.IPFamilyPolicy = nil
			}
			s.IPFamilies, s.ClusterIPs, s.ClusterIP = families, ips, ""
			if len(ips) > 0 {
				s.ClusterIP = ips[0]
			}
		}
	}
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	four, six, both, reverse := []corev1.IPFamily{v4}, []corev1.IPFamily{v6}, []corev1.IPFamily{v4, v6}, []corev1.IPFamily{v6, v4}
	for _, tt := range []struct {
		name     string
		old, new func(*corev1.ServiceSpec)
		want     string // policy, families, number of addresses; or the fault
	}{
		{name: "nothing said", new: set("", nil), want: "SingleStack [IPv4] 1"},
		{name: "the other family", new: set("", six), want: "SingleStack [IPv6] 1"},
		{name: "preferred", new: set(prefer, nil), want: "PreferDualStack [IPv4 IPv6] 2"},
		{name: "required, the other first", new: set(require, six), want: "RequireDualStack [IPv6 IPv4] 2"},
		{name: "both families without a policy", new: set("", both), want: "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified"},
		{name: "both addresses without a policy", new: set("", nil, "10.0.0.9", "fd00::9"), want: "when multiple cluster IPs are specified"},
		{name: "families follow addresses", new: set(prefer, nil, "fd00::9", "10.0.0.9"), want: "PreferDualStack [IPv6 IPv4] 2"},
		{name: "an address of another family", new: set(single, four, "fd00::9"), want: "spec.clusterIPs[0]: Invalid value: \"fd00::9\": expected an IPv4 value as indicated by `ipFamilies[0]`"},
		{name: "two of one family", new: set(require, four, "10.0.0.8", "10.0.0.9"), want: "may specify no more than one IP for each IP family"},
		{name: "kept", old: set(single, four, "10.0.0.9"), new: set("", nil), want: "SingleStack [IPv4] 1"},
		{name: "gets a second one", old: set(single, four, "10.0.0.9"), new: set(require, nil), want: "RequireDualStack [IPv4 IPv6] 2"},
		{name: "lets the second one go", old: set(require, both, "10.0.0.9", "fd00::9"), new: set(single, both, "10.0.0.9", "fd00::9"), want: "SingleStack [IPv4] 1"},
		{name: "loses an address without saying so", old: set(require, both, "10.0.0.9", "fd00::9"), new: set(require, both, "10.0.0.9"), want: "must be 'SingleStack' to release the secondary cluster IP"},
		{name: "loses a family without saying so", old: set(require, both, "10.0.0.9", "fd00::9"), new: set("", four, "10.0.0.9", "fd00::9"), want: "must be 'SingleStack' to release the secondary IP family"},
		{name: "preferred and given one only, as before", old: set(prefer, four, "10.0.0.9"), new: set(prefer, four, "10.0.0.9"), want: "PreferDualStack [IPv4] 1"},
		{name: "reverse", new: set(prefer, reverse), want: "PreferDualStack [IPv6 IPv4] 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := New(&apitest.Client{}, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("fd00::/108")}})
			var old *corev1.Service
			if tt.old != nil {
				old = service("a", tt.old)
			}
			svc := service("a", tt.new)
			_, err := admit(t, a, svc, old)
			got := fmt.Sprint(err)
			if err == nil {
				got = fmt.Sprintf("%s %v %d", *svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies, len(slices.Compact(svc.Spec.ClusterIPs)))
			}
			if !strings.HasSuffix(got, tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// Ports keep their node ports by name: what else of them changes does not matter.
func TestNodePortsStayWithNames(t *testing.T) {
	ports := func(list ...corev1.ServicePort) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) { s.Type, s.Ports = corev1.ServiceTypeNodePort, list }
	}
	old := service("a", ports(corev1.ServicePort{Name: "web", Port: 80, NodePort: 30080}, corev1.ServicePort{Name: "tls", Port: 443, NodePort: 30443}))
	next := service("a", ports(corev1.ServicePort{Name: "web", Port: 8080}, corev1.ServicePort{Name: "tls", Port: 443, NodePort: 31000}))
	if _, err := admit(t, New(&apitest.Client{}, Config{}), next, old); err != nil {
		t.Fatal(err)
	}
	if next.Spec.Ports[0].NodePort != 30080 || next.Spec.Ports[1].NodePort != 31000 {
		t.Errorf("ports are %+v", next.Spec.Ports)
	}
}

// TestNodePortsAreGivenBack: a load balancer that says it needs none any more loses those that it does not name.
func TestNodePortsAreGivenBack(t *testing.T) {
	balancer := func(allocate bool, nodePort int32) func(*corev1.ServiceSpec) {
		return func(s *corev1.ServiceSpec) {
			s.Type, s.AllocateLoadBalancerNodePorts = corev1.ServiceTypeLoadBalancer, &allocate
			s.Ports = []corev1.ServicePort{{Name: "web", Port: 80, NodePort: nodePort}}
		}
	}
	for _, tt := range []struct {
		was, is     bool
		named, want int32
	}{
		{true, false, 0, 0}, {true, false, 30080, 30080}, {true, true, 0, 30080}, {false, false, 0, 0},
	} {
		old, next := service("a", balancer(tt.was, 30080)), service("a", balancer(tt.is, tt.named))
		if _, err := admit(t, New(&apitest.Client{}, Config{}), next, old); err != nil {
			t.Fatal(err)
		}
		if got := next.Spec.Ports[0].NodePort; got != tt.want {
			t.Errorf("%+v: node port %d", tt, got)
		}
	}
}

// TestUpgradeToNone: an update that asks for a second family and no addresses gets the second, for validation to refuse both.
func TestUpgradeToNone(t *testing.T) {
	a := New(&apitest.Client{}, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00::/112")}})
	old := service("s", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs, s.IPFamilies = "10.96.0.7", []string{"10.96.0.7"}, []corev1.IPFamily{corev1.IPv4Protocol}
		s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	})
	next := service("s", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.IPFamilyPolicy = corev1.ClusterIPNone, ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	})
	if _, err := admit(t, a, next, old); err != nil {
		t.Fatal(err)
	}
	if ips := next.Spec.ClusterIPs; len(ips) != 2 || ips[0] != corev1.ClusterIPNone || !strings.HasPrefix(ips[1], "fd00::") {
		t.Errorf("addresses are %q", ips)
	}
}

// TestPutOfAnotherIP: a PUT that names another clusterIP and no clusterIPs names one address.
func TestPutOfAnotherIP(t *testing.T) {
	a := New(&apitest.Client{}, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00::/112")}})
	old := service("s", func(s *corev1.ServiceSpec) {
		s.ClusterIP, s.ClusterIPs, s.IPFamilies = "10.96.0.7", []string{"10.96.0.7", "fd00::7"}, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	})
	_, err := admit(t, a, service("s", func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.8" }), old)
	if want := "must be 'SingleStack' to release the secondary cluster IP"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}
