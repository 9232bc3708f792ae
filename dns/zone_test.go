package dns

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

// testObjects are a cluster with one service of each sort.
func testObjects() *apitest.Client {
	c := &apitest.Client{}
	for _, ns := range []string{"default", "other", "kube-system"} {
		c.Add(api.Namespaces.Resource, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}})
	}
	svc := func(ns, name string, spec corev1.ServiceSpec) {
		c.Add(api.Services.Resource, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec})
	}
	ports := []corev1.ServicePort{{Name: "http", Protocol: "TCP", Port: 80}, {Name: "dns", Protocol: "UDP", Port: 53}}
	svc("default", "web", corev1.ServiceSpec{ClusterIP: "10.96.0.7", Ports: ports})
	svc("default", "db", corev1.ServiceSpec{ClusterIP: "None", Ports: ports[:1]})
	svc("default", "empty", corev1.ServiceSpec{ClusterIP: "None"})
	svc("default", "out", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "web.default.svc.cluster.local"})
	svc("default", "loop", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "loop.default.svc.cluster.local"})
	svc("kube-system", "kube-dns", corev1.ServiceSpec{ClusterIP: "10.96.0.10", Ports: ports[1:]})
	slice := func(name string, eps ...discoveryv1.Endpoint) {
		c.Add(api.EndpointSlices.Resource, &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4,
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			Ports:      []discoveryv1.EndpointPort{{Name: new("http"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(8080))}}, Endpoints: eps})
	}
	slice("web", discoveryv1.Endpoint{Addresses: []string{"10.244.0.4"}})
	slice("db", discoveryv1.Endpoint{Addresses: []string{"10.244.0.5"}, Hostname: new("db-0")},
		discoveryv1.Endpoint{Addresses: []string{"10.244.1.6"}},
		discoveryv1.Endpoint{Addresses: []string{"10.244.1.7"}, Hostname: new("db-2"), Conditions: discoveryv1.EndpointConditions{Ready: new(false)}})
	return c
}

func testZone(t testing.TB) zone {
	r := newLiveRecords(testObjects())
	for _, kind := range []api.Resource{api.Services.Resource, api.EndpointSlices.Resource} {
		for _, o := range r.client.View(kind).List("") {
			r.file(o, 1)
		}
	}
	return zone{domain: "cluster.local.", records: r}
}

func TestAnswers(t *testing.T) {
	const nx, ok = "NXDOMAIN", ""
	z := testZone(t)
	for _, c := range []struct{ qtype, name, rcode, want string }{
		{"A", "web.default.svc.cluster.local.", ok, "10.96.0.7"},
		{"A", "WEB.Default.svc.Cluster.LOCAL.", ok, "10.96.0.7"},
		{"AAAA", "web.default.svc.cluster.local.", ok, ""},
		{"TXT", "web.default.svc.cluster.local.", ok, ""},
		{"A", "web.other.svc.cluster.local.", nx, ""},
		{"A", "web.nowhere.svc.cluster.local.", nx, ""},
		{"A", "nothing.default.svc.cluster.local.", nx, ""},
		{"SRV", "web.default.svc.cluster.local.", ok, "0 50 53 web.default.svc.cluster.local. + 0 50 80 web.default.svc.cluster.local."},
		{"SRV", "_http._tcp.web.default.svc.cluster.local.", ok, "0 100 80 web.default.svc.cluster.local."},
		{"SRV", "_HTTP._TCP.web.default.svc.cluster.local.", ok, "0 100 80 web.default.svc.cluster.local."},
		{"SRV", "_http._udp.web.default.svc.cluster.local.", nx, ""},
		{"A", "_http._tcp.web.default.svc.cluster.local.", ok, "10.96.0.7"},
		{"A", "10-244-0-4.web.default.svc.cluster.local.", ok, "10.244.0.4"},

		{"A", "db.default.svc.cluster.local.", ok, "10.244.0.5 + 10.244.1.6"},
		{"AAAA", "db.default.svc.cluster.local.", ok, ""},
		{"A", "db-0.db.default.svc.cluster.local.", ok, "10.244.0.5"},
		{"A", "10-244-1-6.db.default.svc.cluster.local.", ok, "10.244.1.6"},
		{"A", "db-2.db.default.svc.cluster.local.", nx, ""}, // not ready
		{"SRV", "_http._tcp.db.default.svc.cluster.local.", ok, "0 50 8080 10-244-1-6.db.default.svc.cluster.local. + 0 50 8080 db-0.db.default.svc.cluster.local."},
		{"A", "empty.default.svc.cluster.local.", nx, ""},

		{"A", "out.default.svc.cluster.local.", ok, "10.96.0.7 + web.default.svc.cluster.local."},
		{"CNAME", "out.default.svc.cluster.local.", ok, "web.default.svc.cluster.local."},
		{"A", "loop.default.svc.cluster.local.", "SERVFAIL", ""},

		{"A", "10-244-0-9.default.pod.cluster.local.", ok, "10.244.0.9"},
		{"AAAA", "fd00--7.default.pod.cluster.local.", ok, "fd00::7"},
		{"A", "10-244-0-9.nowhere.pod.cluster.local.", nx, ""},
		{"A", "10-244-0.default.pod.cluster.local.", nx, ""},

		{"A", "cluster.local.", ok, ""},
		{"A", "svc.cluster.local.", ok, ""},
		{"A", "default.svc.cluster.local.", ok, ""},
		{"A", "nowhere.svc.cluster.local.", nx, ""},
		{"A", "default.pod.cluster.local.", ok, ""},
		{"A", "web.default.cluster.local.", nx, ""},
		{"A", "example.org.default.svc.cluster.local.", nx, ""},
		{"SOA", "cluster.local.", ok, "ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"},
		{"NS", "cluster.local.", ok, "ns.dns.cluster.local."},
		{"A", "ns.dns.cluster.local.", ok, "10.96.0.10"},
		{"TXT", "dns-version.cluster.local.", ok, `"1.1.0"`},

		{"PTR", "7.0.96.10.in-addr.arpa.", ok, "web.default.svc.cluster.local."},
		{"PTR", "5.0.244.10.in-addr.arpa.", ok, "db-0.db.default.svc.cluster.local."},
		{"PTR", "4.0.244.10.in-addr.arpa.", ok, "10-244-0-4.web.default.svc.cluster.local."},
		{"PTR", "99.0.244.10.in-addr.arpa.", "not ours", ""},
		{"A", "example.org.", "not ours", ""},
		{"A", "notcluster.local.", "not ours", ""},
	} {
		r := z.ask(dns.Question{Name: c.name, Qtype: dns.StringToType[c.qtype], Qclass: dns.ClassINET})
		var got []string
		for _, rr := range r.answer {
			got = append(got, strings.TrimPrefix(rr.String(), rr.Header().String()))
		}
		slices.Sort(got)
		rcode := map[bool]string{true: "not ours"}[r.notOurs]
		if r.rcode != 0 {
			rcode = dns.RcodeToString[r.rcode]
		}
		if text := strings.Join(got, " + "); text != c.want || rcode != c.rcode {
			t.Errorf("%s %s: %s %s; want %s %s", c.qtype, c.name, rcode, text, c.rcode, c.want)
		}
	}
}

func TestReversedIP(t *testing.T) {
	for name, want := range map[string]string{
		"4.3.2.1.in-addr.arpa.":   "1.2.3.4",
		"3.2.1.in-addr.arpa.":     "",
		"5.4.3.2.1.in-addr.arpa.": "",
		"b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa.": "4321:0:1:2:3:4:567:89ab",
		"b.a.9.8.ip6.arpa.": "",
	} {
		ip, ok := reversedIP(name)
		if ok != (want != "") || ok && ip.String() != want {
			t.Errorf("%s: %s %v, want %q", name, ip, ok, want)
		}
	}
}

func TestNameservers(t *testing.T) {
	got := parseNameservers("# c\nnameserver 10.0.0.2\n nameserver fd00::1 x\nnameserver 10.244.0.1\nnameserver 10.0.0.2\nnameserver bad\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n",
		netip.MustParseAddr("10.244.0.1"))
	if want := []string{"10.0.0.2:53", "[fd00::1]:53", "10.0.0.3:53"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
