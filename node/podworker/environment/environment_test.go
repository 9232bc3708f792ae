package environment

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/api"
	"clipper/node/nodetest"
)

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "EMPTY": ""}
	for in, want := range map[string]string{
		"plain": "plain", "$(A)": "1", "x$(A)y": "x1y", "$$(A)": "$(A)", "$$$(A)": "$1", "$(B)": "$(B)",
		"$(EMPTY)": "", "$(A": "$(A", "$": "$", "$A": "$A", "$(A)$(B)$(A)": "1$(B)1", "$$": "$",
	} {
		if got := Expand(in, func(n string) (string, bool) { v, ok := vars[n]; return v, ok }); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

// apiObjects reads from an API in memory.
type apiObjects struct{ client *nodetest.Client }

func (o apiObjects) ConfigMap(ctx context.Context, ns, name string) (*corev1.ConfigMap, error) {
	return api.ConfigMaps.Get(ctx, o.client, ns, name)
}

func (o apiObjects) Secret(ctx context.Context, ns, name string) (*corev1.Secret, error) {
	return api.Secrets.Get(ctx, o.client, ns, name)
}

func (o apiObjects) Services(ns string) []*corev1.Service {
	return api.Services.View(o.client).List(ns)
}

// service makes a service with a cluster address.
func (o apiObjects) service(t *testing.T, ns, name, ip string, ports ...corev1.ServicePort) {
	t.Helper()
	s := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	s.Namespace, s.Name = ns, name
	if _, err := api.Services.Create(context.Background(), o.client, s); err != nil {
		t.Fatal(err)
	}
}

func TestEnvironment(t *testing.T) {
	objects := apiObjects{nodetest.NewClient()}
	objects.service(t, "default", "kubernetes", "10.43.0.1", corev1.ServicePort{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP})
	objects.service(t, "ns", "my-web", "10.43.0.9", corev1.ServicePort{Name: "h", Port: 80, Protocol: corev1.ProtocolTCP}, corev1.ServicePort{Name: "d-s", Port: 53, Protocol: corev1.ProtocolUDP})
	objects.service(t, "ns", "headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 1})
	cm := &corev1.ConfigMap{Data: map[string]string{"k": "v", "z": "last"}}
	cm.Namespace, cm.Name = "ns", "cm"
	if _, err := api.ConfigMaps.Create(context.Background(), objects.client, cm); err != nil {
		t.Fatal(err)
	}
	c := corev1.Container{Name: "c"}
	yes := true
	c.EnvFrom = []corev1.EnvFromSource{
		{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cm"}}},
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: &yes}},
	}
	field := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	c.Env = []corev1.EnvVar{
		{Name: "IP", ValueFrom: field("status.podIP")}, {Name: "HOST", ValueFrom: field("status.hostIP")},
		{Name: "L", ValueFrom: field("metadata.labels['app']")},
		{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
		{Name: "URL", Value: "http://$(MY_WEB_SERVICE_HOST):$(P_k)/$(IP)"},
		{Name: "MY_WEB_SERVICE_PORT", Value: "mine"},
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
	pod.Namespace, pod.Labels = "ns", map[string]string{"app": "x"}
	node := Node{Objects: objects, IPs: []netip.Addr{netip.MustParseAddr("192.168.0.1")},
		Allocatable: func() corev1.ResourceList { return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")} }}
	get := func() string {
		t.Helper()
		vars, err := node.Of(context.Background(), pod, &c, []netip.Addr{netip.MustParseAddr("10.42.0.5")})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(vars.List(), "\n")
	}
	want := `P_k=v
P_z=last
IP=10.42.0.5
HOST=192.168.0.1
L=x
CPU=2
URL=http://10.43.0.9:v/10.42.0.5
MY_WEB_SERVICE_PORT=mine
KUBERNETES_SERVICE_HOST=10.43.0.1
KUBERNETES_SERVICE_PORT=443
KUBERNETES_SERVICE_PORT_HTTPS=443
KUBERNETES_PORT=tcp://10.43.0.1:443
KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443
KUBERNETES_PORT_443_TCP_PROTO=tcp
KUBERNETES_PORT_443_TCP_PORT=443
KUBERNETES_PORT_443_TCP_ADDR=10.43.0.1
MY_WEB_SERVICE_HOST=10.43.0.9
MY_WEB_SERVICE_PORT_H=80
MY_WEB_SERVICE_PORT_D_S=53
MY_WEB_PORT=tcp://10.43.0.9:80
MY_WEB_PORT_80_TCP=tcp://10.43.0.9:80
MY_WEB_PORT_80_TCP_PROTO=tcp
MY_WEB_PORT_80_TCP_PORT=80
MY_WEB_PORT_80_TCP_ADDR=10.43.0.9
MY_WEB_PORT_53_UDP=udp://10.43.0.9:53
MY_WEB_PORT_53_UDP_PROTO=udp
MY_WEB_PORT_53_UDP_PORT=53
MY_WEB_PORT_53_UDP_ADDR=10.43.0.9`
	if got := get(); got != want {
		t.Errorf("got:\n%s", got)
	}
	no := false
	pod.Spec.EnableServiceLinks = &no
	if got := get(); strings.Contains(got, "MY_WEB_SERVICE_HOST=") || !strings.Contains(got, "KUBERNETES_SERVICE_HOST=") {
		t.Errorf("without service links:\n%s", got)
	}
}
