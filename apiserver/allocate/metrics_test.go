package allocate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api/apitest"
)

// TestCollect: what is taken and what is left of addresses and ports.
func TestCollect(t *testing.T) {
	a := New(&apitest.Client{}, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("fd00::/112")}, FirstNodePort: 30000, LastNodePort: 30009})
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}}
	if _, err := admit(t, a, svc, nil); err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(a)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				label = "{" + l.GetName() + "=" + l.GetValue() + "}"
			}
			got = append(got, fmt.Sprint(strings.TrimPrefix(f.GetName(), "kube_apiserver_"), label, " ", m.GetGauge().GetValue()))
		}
	}
	const want = `clusterip_allocator_allocated_ips{cidr=10.0.0.0/29} 1
clusterip_allocator_allocated_ips{cidr=fd00::/112} 0
clusterip_allocator_available_ips{cidr=10.0.0.0/29} 5
clusterip_allocator_available_ips{cidr=fd00::/112} 65535
nodeport_allocator_allocated_ports 1
nodeport_allocator_available_ports 9`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
}

// TestAllocations: what was given out counts by who chose it, and what could not be.
func TestAllocations(t *testing.T) {
	const cidr = "10.9.0.0/24" // large enough for what is chosen at random to keep away from the first
	a := New(&apitest.Client{}, Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix(cidr)}, FirstNodePort: 30000, LastNodePort: 32767})
	service := func(ip string, port int32) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("s", ip, port)}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, ClusterIP: ip, ClusterIPs: strings.Fields(ip),
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, NodePort: port}}}}
	}
	counts := func() string {
		var out []string
		for _, c := range []*prometheus.CounterVec{portsGiven, portsRefused} {
			out = append(out, fmt.Sprint(testutil.ToFloat64(c.WithLabelValues(static)), testutil.ToFloat64(c.WithLabelValues(dynamic))))
		}
		for _, c := range []*prometheus.CounterVec{ipsGiven, ipsRefused} {
			out = append(out, fmt.Sprint(testutil.ToFloat64(c.WithLabelValues(cidr, static)), testutil.ToFloat64(c.WithLabelValues(cidr, dynamic))))
		}
		return strings.Join(out, ", ")
	}
	for _, c := range Collectors() {
		c.(*prometheus.CounterVec).Reset()
	}
	for _, tt := range []struct {
		ip   string
		port int32
		good bool
		want string // ports given static and dynamic, refused; the same of addresses
	}{
		{"", 0, true, "0 1, 0 0, 0 1, 0 0"},
		{"10.9.0.2", 30001, true, "1 1, 0 0, 1 1, 0 0"},
		{"10.9.0.2", 0, false, "1 1, 0 0, 1 1, 1 0"},
		{"10.8.0.2", 0, false, "1 1, 0 0, 1 1, 2 0"},
		{"10.9.0.3", 30001, false, "1 1, 1 0, 2 1, 2 0"},
	} {
		_, err := admit(t, a, service(tt.ip, tt.port), nil)
		if (err == nil) != tt.good {
			t.Errorf("%+v: %v", tt, err)
		}
		if got := counts(); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}
