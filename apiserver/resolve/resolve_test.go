package resolve_test

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/apiserver/resolve"
)

// TestResolveEndpoint: the first address family wins, unready endpoints and other ports are passed over.
func TestResolveEndpoint(t *testing.T) {
	c := inprocesstest.New(t)
	ctx := context.Background()
	service := func(name string, spec corev1.ServiceSpec) {
		t.Helper()
		if _, err := api.Services.Create(ctx, c, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: spec}); err != nil {
			t.Fatal(err)
		}
	}
	ports := []corev1.ServicePort{{Name: "https", Port: 443}, {Name: "other", Port: 80}}
	service("web", corev1.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: ports})
	service("empty", corev1.ServiceSpec{ClusterIP: "10.0.0.2", ClusterIPs: []string{"10.0.0.2"}, Ports: ports})
	service("elsewhere", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "api.example.com"})
	slice := func(name string, family discoveryv1.AddressType, ready bool, address string) {
		t.Helper()
		port, number := "https", int32(8443)
		if _, err := api.EndpointSlices.Create(ctx, c, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
			AddressType: family, Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	slice("six", discoveryv1.AddressTypeIPv6, true, "2001:db8::1")
	slice("unready", discoveryv1.AddressTypeIPv4, false, "192.0.2.1")
	slice("ready", discoveryv1.AddressTypeIPv4, true, "192.0.2.2")
	r := resolve.New(c, &resolve.Loopback{Config: &rest.Config{Host: "https://127.0.0.1:6443"}})
	for _, tt := range []struct {
		name      string
		port      int32
		want, err string
	}{
		{"web", 443, "https://192.0.2.2:8443", ""},
		{"web", 80, "", `no endpoints available for service "web"`},
		{"web", 1, "", `no service port 1 found for service "web"`},
		{"empty", 443, "", `no endpoints available for service "empty"`},
		{"none", 443, "", `service "none" not found`},
		{"elsewhere", 8443, "https://api.example.com:8443", ""},
		{"kubernetes", 443, "https://127.0.0.1:6443", ""},
		{"kubernetes", 444, "", `service "kubernetes" not found`},
	} {
		got, err := r.ResolveEndpoint("default", tt.name, tt.port)
		switch {
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%s:%d: %v, want %s", tt.name, tt.port, err, tt.err)
		case tt.err == "" && (err != nil || got.String() != tt.want):
			t.Errorf("%s:%d: %v %v, want %s", tt.name, tt.port, got, err, tt.want)
		}
	}
}
