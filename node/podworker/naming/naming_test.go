package naming

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestKernelHostname(t *testing.T) {
	yes := true
	pod := func(name, host, sub string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}, Spec: corev1.PodSpec{Hostname: host, Subdomain: sub, SetHostnameAsFQDN: &yes}}
	}
	for _, tc := range []struct {
		pod         *corev1.Pod
		want, fault string
	}{
		{pod("p", "", ""), "p", ""},
		{pod("p", "h", "s"), "h.s.ns.svc.cluster.local", ""},
		{pod("p", strings.Repeat("h", 40), "sub"), "", "FQDN " + strings.Repeat("h", 40) + ".sub.ns.svc.cluster.local is too long (64 characters is the max, 65 characters requested)"},
	} {
		got, err := (&Node{ClusterDomain: "cluster.local"}).KernelHostname(tc.pod)
		if got != tc.want || (tc.fault == "") != (err == nil) || err != nil && !strings.HasSuffix(err.Error(), tc.fault) {
			t.Errorf("%s: %q, %v", tc.pod.Name, got, err)
		}
	}
}

func TestHostsFile(t *testing.T) {
	pod := &corev1.Pod{}
	pod.Namespace = "ns"
	pod.Spec.Hostname, pod.Spec.Subdomain = "h", "sub"
	pod.Spec.HostAliases = []corev1.HostAlias{{IP: "1.2.3.4", Hostnames: []string{"foo", "bar"}}}
	got, err := (&Node{ClusterDomain: "cluster.local"}).hostsFile(pod, []netip.Addr{netip.MustParseAddr("10.42.0.5")})
	want := "10.42.0.5\th.sub.ns.svc.cluster.local\th\n\n# Entries added by HostAliases.\n1.2.3.4\tfoo\tbar\n"
	if err != nil || !strings.HasPrefix(got, "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n") || !strings.HasSuffix(got, want) {
		t.Errorf("%v\n%s", err, got)
	}
}
