package allocate

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

// TestDryRun: what upstream answers to a dry run, number by number; nothing is taken.
func TestDryRun(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.Services.Resource, service("stored", func(s *corev1.ServiceSpec) {
		s.Type, s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = corev1.ServiceTypeNodePort, "10.96.0.10", []string{"10.96.0.10"}, 30053
	}))
	a := New(c, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00::/112")}})
	second := corev1.ServicePort{Name: "q", Port: 81, Protocol: corev1.ProtocolTCP}
	for name, tt := range map[string]struct {
		spec  func(*corev1.ServiceSpec)
		ips   string
		ports []int32
		err   string
	}{
		"whatever there is":    {nil, "10.96.0.0", []int32{0}, ""},
		"both":                 {func(s *corev1.ServiceSpec) { s.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack) }, "10.96.0.0,fd00::", []int32{0}, ""},
		"an address":           {func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.7" }, "10.96.0.7", []int32{0}, ""},
		"a taken address":      {func(s *corev1.ServiceSpec) { s.ClusterIP = "10.96.0.10" }, "10.96.0.10", []int32{0}, ""},
		"an address elsewhere": {func(s *corev1.ServiceSpec) { s.ClusterIP = "10.97.0.7" }, "", nil, `spec.clusterIPs: Invalid value: ["10.97.0.7"]: failed to allocate IP 10.97.0.7: the provided IP (10.97.0.7) is not in the valid range. The range of valid IPs is 10.96.0.0/16`},
		"ports":                {func(s *corev1.ServiceSpec) { s.Type, s.Ports = corev1.ServiceTypeNodePort, append(s.Ports, second) }, "10.96.0.0", []int32{32769, 32770}, ""},
		"a port":               {func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = corev1.ServiceTypeNodePort, 7 }, "10.96.0.0", []int32{7}, ""},
		"a taken port":         {func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30053 }, "", nil, "spec.ports[0].nodePort: Invalid value: 30053: provided port is already allocated"},
		"no type":              {func(s *corev1.ServiceSpec) { s.Type, s.ClusterIPs = "Foo", []string{"x"} }, "", nil, `must be empty when `},
	} {
		svc := service("s", tt.spec)
		at := &admission.Attributes{Operation: admission.Create, Resource: api.Services.Resource, Namespace: "ns", Name: "s", Object: svc, DryRun: true, Undo: func(func()) {}}
		err := a.Admit(t.Context(), at)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", name, err, tt.err)
			}
			continue
		}
		if err != nil || strings.Join(svc.Spec.ClusterIPs, ",") != tt.ips {
			t.Errorf("%s: %q, %v, want %q", name, svc.Spec.ClusterIPs, err, tt.ips)
		}
		for i, want := range tt.ports {
			if got := svc.Spec.Ports[i].NodePort; got != want {
				t.Errorf("%s: port %d, want %d", name, got, want)
			}
		}
	}
	if a.family(corev1.IPv4Protocol).pool.has(netip.MustParseAddr("10.96.0.7")) || a.ports.has(7) {
		t.Error("a dry run took something")
	}
}
