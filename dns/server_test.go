package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/node/network"
	"clipper/node/network/netlab"
	"clipper/node/network/netns"
	"clipper/node/network/routed"
	"clipper/service"
)

func start(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		case <-time.After(2 * time.Second):
			t.Error("does not stop")
		}
	})
}

func wait(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	select {
	case <-ready:
	case <-time.After(5 * time.Second):
		t.Fatal("does not get ready")
	}
}

// query asks server from inside a namespace and wants an answer.
func query(t *testing.T, ns, proto, server, name string, qtype uint16, edns uint16) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(name, qtype)
	if edns > 0 {
		m.SetEdns0(edns, false)
	}
	in, err := exchange(ns, proto, server, m, 4*time.Second)
	if err != nil {
		t.Fatalf("%s %s: %v", proto, name, err)
	}
	in.Compress = true // so that Len is what came over the wire
	return in
}

func exchange(ns, proto, server string, m *dns.Msg, patience time.Duration) (*dns.Msg, error) {
	var conn net.Conn
	err := netns.Do(ns, func() (err error) {
		conn, err = net.DialTimeout(proto, server, patience)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in, _, err := (&dns.Client{Net: proto, Timeout: patience}).ExchangeWithConn(m, &dns.Conn{Conn: conn, UDPSize: 4096})
	return in, err
}

func TestTransport(t *testing.T) {
	client := testObjects()
	es := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4,
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "big-1", Labels: map[string]string{discoveryv1.LabelServiceName: "big"}}}
	for i := range 200 {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.2.%d", i)}})
	}
	client.Add(api.EndpointSlices.Resource, es)
	client.Add(api.Services.Resource, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "big"}, Spec: corev1.ServiceSpec{ClusterIP: "None"}})

	// The name server of the outside world, in the same namespace.
	lab := netlab.New(t)
	node := lab.Node()
	outside := dns.NewServeMux()
	var asked atomic.Int32
	outside.HandleFunc("example.org.", func(w dns.ResponseWriter, r *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg).SetReply(r)
		m.Answer = []dns.RR{&dns.A{Hdr: header(r.Question[0].Name, dns.TypeA), A: net.IPv4(192, 0, 2, 1)}}
		_ = w.WriteMsg(m)
	})
	var pc net.PacketConn
	if err := netns.Do(node.NetNS, func() (err error) { pc, err = net.ListenPacket("udp4", "127.0.0.1:53"); return err }); err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: outside}
	go srv.ActivateAndServe()
	t.Cleanup(func() { srv.Shutdown() })
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.9\nnameserver 127.0.0.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}

	s := NewServer(client, Config{Listen: netip.AddrPortFrom(node.IP, 53), ResolvConf: conf, NetNS: node.NetNS})
	start(t, s.Run)
	wait(t, s.Ready())
	at := netip.AddrPortFrom(node.IP, 53).String()
	ask := func(proto, name string, qtype, edns uint16) *dns.Msg {
		return query(t, node.NetNS, proto, at, name, qtype, edns)
	}
	for _, proto := range []string{"udp", "tcp"} {
		if in := ask(proto, "web.default.svc.cluster.local.", dns.TypeA, 0); len(in.Answer) != 1 || !in.Authoritative || in.IsEdns0() != nil {
			t.Errorf("%s: %s", proto, in)
		}
		if in := ask(proto, "nothing.default.svc.cluster.local.", dns.TypeA, 1232); in.Rcode != dns.RcodeNameError || len(in.Ns) != 1 || in.IsEdns0() == nil {
			t.Errorf("%s: %s", proto, in)
		}
		if in := ask(proto, "example.org.", dns.TypeA, 0); len(in.Answer) != 1 || in.Authoritative {
			t.Errorf("%s: forwarded: %s", proto, in)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the name server outside was asked %d times, want once", n)
	}
	if in := ask("udp", "big.default.svc.cluster.local.", dns.TypeA, 0); !in.Truncated || in.Len() > 512 {
		t.Errorf("200 addresses by UDP: truncated %v, %d bytes", in.Truncated, in.Len())
	}
	if in := ask("udp", "big.default.svc.cluster.local.", dns.TypeA, 4096); !in.Truncated || in.Len() > 1232 || in.Len() < 1000 {
		t.Errorf("200 addresses by UDP with EDNS: truncated %v, %d bytes", in.Truncated, in.Len())
	}
	if in := ask("tcp", "big.default.svc.cluster.local.", dns.TypeA, 0); in.Truncated || len(in.Answer) != 200 {
		t.Errorf("200 addresses by TCP: truncated %v, %d answers", in.Truncated, len(in.Answer))
	}
	if in := ask("udp", "cluster.local.", dns.TypeAXFR, 0); in.Rcode != dns.RcodeRefused {
		t.Errorf("zone transfer: %s", in)
	}
}

// Two nodes, a pod on each: the pods ask the service address, their own node answers; when it stops being
// ready the other does.
func TestServiceAddressOnEveryNode(t *testing.T) {
	lab := netlab.New(t)
	client := testObjects()
	serviceCIDR := netip.MustParsePrefix("10.96.0.0/16")
	if err := client.Delete(context.Background(), api.Services.Resource, Namespace, ServiceName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	start(t, NewPublisher(client, serviceCIDR, nil).Run)
	var pods []network.Attachment
	nodeObject := func(i int, ip netip.Addr, ready corev1.ConditionStatus) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}, Spec: corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.244.%d.0/24", i)},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip.String()}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}}}
	}
	var first *netlab.Node
	for i := range 2 {
		n := lab.Node()
		if i == 0 {
			first = n
		}
		cidr := netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i))
		client.Add(api.Nodes.Resource, nodeObject(i, n.IP, corev1.ConditionTrue))
		nw, err := routed.Open(routed.Config{StateDir: t.TempDir(), NetNS: n.NetNS, NodeName: fmt.Sprint("n", i), NodeIP: n.IP, PodCIDR: cidr, ServiceCIDR: serviceCIDR})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nw.Close)
		start(t, func(ctx context.Context) error { return nw.Run(ctx, client) })
		proxy := service.NewProxy(client, service.Config{NodeName: fmt.Sprint("n", i), NetNS: n.NetNS, PodCIDR: cidr, ServiceCIDR: serviceCIDR})
		start(t, proxy.Run)
		wait(t, proxy.Ready())
		s := NewServer(client, Config{Listen: netip.AddrPortFrom(nw.Gateway(), 53), NetNS: n.NetNS, ResolvConf: "/dev/null"})
		start(t, s.Run)
		wait(t, s.Ready())
		pod, err := nw.Attach(context.Background(), "pod", nil)
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, pod)
		t.Cleanup(func() {
			if err := nw.Detach(context.Background(), "pod"); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "both name servers to be published", func() bool { return readyEndpoints(client) == 2 })
	// Each node's proxy follows what is published in its own time: a question before that is lost.
	answered := func(pod network.Attachment, proto string) bool {
		m := new(dns.Msg)
		m.SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
		in, err := exchange(pod.NetNS, proto, "10.96.0.10:53", m, 500*time.Millisecond)
		return err == nil && len(in.Answer) == 1
	}
	for i, pod := range pods {
		for _, proto := range []string{"udp", "tcp"} {
			eventually(t, fmt.Sprintf("an answer to the pod on node %d by %s", i, proto), func() bool { return answered(pod, proto) })
		}
		if in := query(t, pod.NetNS, "udp", "10.96.0.10:53", "example.org.", dns.TypeA, 0); in.Rcode != dns.RcodeServerFailure {
			t.Errorf("no name server outside: %s", in)
		}
	}
	client.Add(api.Nodes.Resource, nodeObject(0, first.IP, corev1.ConditionUnknown))
	eventually(t, "the lost node's name server to go", func() bool { return readyEndpoints(client) == 1 })
	eventually(t, "the other node's name server to help out", func() bool { return answered(pods[0], "tcp") })

	// Somebody brings a DNS of their own.
	svc, err := api.Services.Get(context.Background(), client, Namespace, ServiceName)
	if err != nil {
		t.Fatal(err)
	}
	theirs := svc.DeepCopy()
	theirs.Spec.Selector = map[string]string{"k8s-app": "kube-dns"}
	client.Add(api.Services.Resource, theirs)
	eventually(t, "our endpoints to be withdrawn", func() bool { return readyEndpoints(client) == 0 })
}

func readyEndpoints(c *apitest.Client) int {
	n := 0
	for _, s := range api.EndpointSlices.View(c).ByIndex(api.ByService, Namespace+"/"+ServiceName) {
		for _, ep := range s.Endpoints {
			if *ep.Conditions.Ready {
				n++
			}
		}
	}
	return n
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for " + what)
		}
	}
}

func TestSlicesForKeepsPlaces(t *testing.T) {
	var nodes []*corev1.Node
	for i := range 1200 {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}, Spec: corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.%d.%d.0/24", i/256, i%256)}})
	}
	first := slicesFor(nodes, nil)
	if len(first) != 3 {
		t.Fatalf("%d slices for 1200 nodes", len(first))
	}
	second := slicesFor(nodes[1:], first)
	for i := range second {
		if want := map[int]int{0: 499, 1: 500, 2: 200}[i]; len(second[i].Endpoints) != want {
			t.Errorf("slice %d has %d endpoints, want %d", i, len(second[i].Endpoints), want)
		}
	}
}

// Whatever arrives, there is an answer of the right kind and size, or none.
func FuzzRespond(f *testing.F) {
	s := &Server{zone: testZone(f), upstream: newUpstream("/dev/null", "", netip.Addr{})}
	for _, name := range []string{"web.default.svc.cluster.local.", "_http._tcp.db.default.svc.cluster.local.", "7.0.96.10.in-addr.arpa.",
		"out.default.svc.cluster.local.", "1-2-3-4.default.pod.cluster.local.", "example.org.", "."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		m.SetEdns0(4096, true)
		if b, err := m.Pack(); err == nil {
			f.Add(b, true)
			f.Add(b, false)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, tcp bool) {
		req := new(dns.Msg)
		if req.Unpack(data) != nil {
			return
		}
		resp := s.respond(req, tcp)
		if resp == nil {
			return
		}
		b, err := resp.Pack()
		if err != nil {
			t.Fatalf("answer cannot be packed: %v\n%s", err, resp)
		}
		if !tcp && len(b) > maxUDPAnswer {
			t.Fatalf("%d bytes by UDP", len(b))
		}
		if resp.Id != req.Id || !resp.Response {
			t.Fatal("not an answer to the question")
		}
	})
}
