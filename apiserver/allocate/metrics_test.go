package allocate

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
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
