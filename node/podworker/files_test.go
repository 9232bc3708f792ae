package podworker

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
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

// service makes a service with a cluster address.
func (r *rig) service(ns, name, ip string, ports ...corev1.ServicePort) {
	r.t.Helper()
	s := &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	s.Namespace, s.Name = ns, name
	if _, err := api.Services.Create(context.Background(), r.client, s); err != nil {
		r.t.Fatal(err)
	}
}

func TestEnvironment(t *testing.T) {
	r := newRig(t)
	r.service("default", "kubernetes", "10.43.0.1", corev1.ServicePort{Name: "https", Port: 443, Protocol: corev1.ProtocolTCP})
	r.service("ns", "my-web", "10.43.0.9", corev1.ServicePort{Name: "h", Port: 80, Protocol: corev1.ProtocolTCP}, corev1.ServicePort{Name: "d-s", Port: 53, Protocol: corev1.ProtocolUDP})
	r.service("ns", "headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 1})
	cm := &corev1.ConfigMap{Data: map[string]string{"k": "v", "z": "last"}}
	cm.Namespace, cm.Name = "ns", "cm"
	if _, err := api.ConfigMaps.Create(context.Background(), r.client, cm); err != nil {
		t.Fatal(err)
	}
	c := container("c", "web:1")
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
	pod := newPod(c)
	pod.Labels = map[string]string{"app": "x"}
	w := New(r.config(), pod, nil, nil, nil)
	get := func() string {
		t.Helper()
		vars, err := w.environment(context.Background(), pod, &c, []netip.Addr{netip.MustParseAddr("10.42.0.5")})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(vars.list(), "\n")
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

func TestResolver(t *testing.T) {
	r := newRig(t)
	cfg := r.config()
	if err := os.MkdirAll(cfg.ResolvConf[:strings.LastIndexByte(cfg.ResolvConf, '/')], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.ResolvConf, []byte("nameserver 9.9.9.9\nsearch corp.example .\noptions timeout:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	two := "2"
	for _, tc := range []struct {
		name   string
		change func(*corev1.PodSpec)
		want   string
	}{
		{"cluster first", func(*corev1.PodSpec) {},
			"search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.43.0.10\noptions ndots:5\n"},
		{"the node's", func(s *corev1.PodSpec) { s.DNSPolicy = corev1.DNSDefault },
			"search corp.example\nnameserver 9.9.9.9\noptions timeout:1\n"},
		{"host network falls back to the node's", func(s *corev1.PodSpec) { s.HostNetwork = true },
			"search corp.example\nnameserver 9.9.9.9\noptions timeout:1\n"},
		{"host network with the cluster's", func(s *corev1.PodSpec) { s.HostNetwork, s.DNSPolicy = true, corev1.DNSClusterFirstWithHostNet },
			"search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.43.0.10\noptions ndots:5\n"},
		{"its own", func(s *corev1.PodSpec) {
			s.DNSPolicy = corev1.DNSNone
			s.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"1.1.1.1"}, Searches: []string{"a.b"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}, {Name: "edns0"}}}
		}, "search a.b\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"},
		{"the cluster's with its own added", func(s *corev1.PodSpec) {
			s.DNSConfig = &corev1.PodDNSConfig{Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: &two}}}
		}, "search ns.svc.cluster.local svc.cluster.local cluster.local corp.example\nnameserver 10.43.0.10\noptions ndots:2\n"},
	} {
		pod := newPod(container("c", "web:1"))
		tc.change(&pod.Spec)
		if got, err := New(cfg, pod, nil, nil, nil).resolvFile(pod); err != nil || got != tc.want {
			t.Errorf("%s: %v\n%s", tc.name, err, got)
		}
	}
}

func TestHostsFile(t *testing.T) {
	pod := newPod(container("c", "web:1"))
	pod.Spec.Hostname, pod.Spec.Subdomain = "h", "sub"
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"foo", "bar"}}}
	w := New(newRig(t).config(), pod, nil, nil, nil)
	got, err := w.hostsFile(pod, []netip.Addr{netip.MustParseAddr("10.42.0.5")})
	want := "10.42.0.5\th.sub.ns.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"
	if err != nil || !strings.HasPrefix(got, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n") || !strings.HasSuffix(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
}

func TestLastWordsFromTheLog(t *testing.T) {
	path := t.TempDir() + "/0.log"
	if err := os.WriteFile(path, []byte("2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw\n2026-01-01T00:00:00Z stderr F o\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := logTail(path, 2048); got != "one\ntwo\n" {
		t.Errorf("logTail = %q", got)
	}
	if got := logTail(path, 4); got != "two\n" {
		t.Errorf("logTail of 4 bytes = %q", got)
	}
}
