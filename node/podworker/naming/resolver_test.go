package naming

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestResolver(t *testing.T) {
	node := Node{ClusterDNS: []netip.Addr{netip.MustParseAddr("10.43.0.10")}, ClusterDomain: "cluster.local", ResolvConf: t.TempDir() + "/resolv.conf"}
	if err := os.WriteFile(node.ResolvConf, []byte("nameserver 9.9.9.9\nsearch corp.example .\noptions timeout:1\n"), 0o644); err != nil {
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
		pod := &corev1.Pod{Spec: corev1.PodSpec{DNSPolicy: corev1.DNSClusterFirst}}
		pod.Namespace = "ns"
		tc.change(&pod.Spec)
		if got, _, err := node.resolverFile(pod); err != nil || got != tc.want {
			t.Errorf("%s: %v\n%s", tc.name, err, got)
		}
	}
}

func TestResolverLimits(t *testing.T) {
	many := make([]string, maxSearch+1)
	for i := range many {
		many[i] = fmt.Sprintf("d%d.example", i)
	}
	long := strings.Repeat("x", 250)
	for _, tc := range []struct {
		name            string
		have            resolver
		search, servers int
		told            string // the beginnings of what the user is told
	}{
		{"little", resolver{search: []string{"a", "b"}, nameservers: []string{"1", "2", "3"}}, 2, 3, ""},
		{"too many domains", resolver{search: many}, maxSearch, 0, "Search"},
		{"one that is too long", resolver{search: []string{"a", strings.Repeat("x", 254)}}, 1, 0, "Search"},
		{"too long together", resolver{search: []string{long, long, long, long, long, long, long, long, long}}, 8, 0, "Search"},
		{"too many servers", resolver{nameservers: []string{"1", "2", "3", "4"}}, 0, 3, "Nameserver"},
		{"both", resolver{search: many, nameservers: []string{"1", "2", "3", "4"}}, maxSearch, 3, "Search Nameserver"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, omitted := tc.have.limited()
			if len(got.search) != tc.search || len(got.nameservers) != tc.servers {
				t.Errorf("%d domains and %d servers, want %d and %d", len(got.search), len(got.nameservers), tc.search, tc.servers)
			}
			var told []string
			for _, o := range omitted {
				told = append(told, o[:strings.IndexByte(o, ' ')])
			}
			if strings.Join(told, " ") != tc.told {
				t.Errorf("told %q, want %q", omitted, tc.told)
			}
		})
	}
}
