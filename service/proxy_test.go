package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/node/network"
	"clipper/node/network/netlab"
	"clipper/node/network/netns"
	"clipper/node/network/routed"
)

// A cluster is two nodes n1 and n2 with pods p1 and p2 on the first and p3 on the second, and a client outside.
type cluster struct {
	t       *testing.T
	api     *apitest.Client
	nodes   []*netlab.Node
	outside *netlab.Node
	nets    []*routed.Network
	proxies []*Proxy
	stop    []func()
	pods    map[string]network.Attachment
	node    map[string]string
}

func newCluster(t *testing.T) *cluster {
	lab := netlab.New(t)
	c := &cluster{t: t, api: &apitest.Client{}, pods: map[string]network.Attachment{}, node: map[string]string{}}
	c.nodes = []*netlab.Node{lab.Node(), lab.Node()}
	c.outside = lab.Node()
	for i, n := range c.nodes {
		c.api.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i+1)},
			Spec:   corev1.NodeSpec{PodCIDR: fmt.Sprintf("10.244.%d.0/24", i)},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.IP.String()}}}})
	}
	for i, n := range c.nodes {
		nw, err := routed.Open(routed.Config{StateDir: t.TempDir(), NetNS: n.NetNS, NodeName: fmt.Sprint("n", i+1), NodeIP: n.IP,
			PodCIDR: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16")})
		if err != nil {
			t.Fatal(err)
		}
		c.nets = append(c.nets, nw)
		c.proxies, c.stop = append(c.proxies, nil), append(c.stop, nil)
		c.startProxy(i)
		stop := runUntilStopped(t, func(ctx context.Context) error { return nw.Run(ctx, c.api) })
		t.Cleanup(func() {
			stop()
			c.stop[i]()
			nw.Close()
		})
	}
	for pod, i := range map[string]int{"p1": 0, "p2": 0, "p3": 1} {
		a, err := c.nets[i].Attach(context.Background(), pod, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.pods[pod], c.node[pod] = a, fmt.Sprint("n", i+1)
		netlab.Serve(t, a.NetNS, "tcp", ":8080", pod)
		netlab.Serve(t, a.NetNS, "udp", ":8080", pod)
		t.Cleanup(func() {
			if err := c.nets[i].Detach(context.Background(), pod); err != nil {
				t.Error(err)
			}
		})
	}
	return c
}

func (c *cluster) startProxy(i int) {
	c.t.Helper()
	p := NewProxy(c.api, Config{NodeName: fmt.Sprint("n", i+1), NetNS: c.nodes[i].NetNS,
		PodCIDR: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/16"), HealthPort: 10256})
	c.proxies[i], c.stop[i] = p, runUntilStopped(c.t, p.Run)
	select {
	case <-p.Ready():
	case <-time.After(5 * time.Second):
		c.t.Fatal("proxy does not get ready")
	}
}

func runUntilStopped(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func (c *cluster) service(name, ip string, change func(*corev1.Service), pods ...string) {
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip,
		Ports: []corev1.ServicePort{{Name: "t", Protocol: tcp, Port: 80}, {Name: "u", Protocol: udp, Port: 80}}}}
	if change != nil {
		change(s)
	}
	es := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name + "-1",
		Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: discoveryv1.AddressTypeIPv4}
	for _, p := range []struct {
		name  string
		proto *corev1.Protocol
	}{{"t", &tcp}, {"u", &udp}} {
		es.Ports = append(es.Ports, discoveryv1.EndpointPort{Name: &p.name, Protocol: p.proto, Port: new(int32(8080))})
	}
	for _, pod := range pods {
		es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{c.pods[pod].IPs[0].String()},
			NodeName: new(c.node[pod]), Conditions: discoveryv1.EndpointConditions{Ready: new(true)}})
	}
	c.api.Add(api.Services.Resource, s)
	c.api.Add(api.EndpointSlices.Resource, es)
	c.settle()
}

// settle waits until the proxies have written everything they were told: until each has seen a marker
// service that was created last.
func (c *cluster) settle() {
	c.t.Helper()
	marker := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "marker", Labels: map[string]string{"at": time.Now().String()}},
		Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.96.99.%d", time.Now().UnixNano()%250), Ports: []corev1.ServicePort{{Protocol: "TCP", Port: 1}}}}
	c.api.Add(api.Services.Resource, marker)
	c.eventually("rules to settle", func() bool {
		for _, n := range c.nodes {
			if !holds(c.t, n.NetNS, Element{Set: setClusterIPs, Addr: netip.MustParseAddr(marker.Spec.ClusterIP)}) {
				return false
			}
		}
		return true
	})
}

// holds asks the kernel for an element.
func holds(t *testing.T, ns string, e Element) (found bool) {
	t.Helper()
	err := netns.Do(ns, func() error {
		conn, err := nftables.New()
		if err != nil {
			return err
		}
		elements, err := conn.GetSetElements(&nftables.Set{Table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName}, Name: e.Set})
		found = slices.ContainsFunc(elements, func(have nftables.SetElement) bool { return bytes.Equal(have.Key, e.key()) })
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func (c *cluster) eventually(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatal("waited in vain for " + what)
		}
	}
}

// ask connects n times and returns who answered how often, and the last source address seen.
func (c *cluster) ask(ns, proto, addr string, n int) (map[string]int, netip.Addr) {
	c.t.Helper()
	counts := map[string]int{}
	var source netip.Addr
	for range n {
		name, from, err := netlab.Ask(ns, proto, addr)
		if err != nil {
			c.t.Fatalf("%s %s: %v", proto, addr, err)
		}
		counts[name]++
		source = from
	}
	return counts, source
}

func (c *cluster) wantAll(ns, proto, addr string, names ...string) netip.Addr {
	c.t.Helper()
	counts, source := c.ask(ns, proto, addr, 30)
	if len(counts) != len(names) {
		c.t.Errorf("%s %s answered by %v, want %q", proto, addr, counts, names)
	}
	for _, n := range names {
		if counts[n] == 0 {
			c.t.Errorf("%s %s answered by %v, want all of %q", proto, addr, counts, names)
		}
	}
	return source
}

func TestClusterIP(t *testing.T) {
	c := newCluster(t)
	c.service("web", "10.96.0.7", nil, "p1", "p2", "p3")
	for _, proto := range []string{"tcp", "udp"} {
		for _, from := range []string{c.pods["p1"].NetNS, c.pods["p3"].NetNS, c.nodes[0].NetNS, c.nodes[1].NetNS} {
			c.wantAll(from, proto, "10.96.0.7:80", "p1", "p2", "p3")
		}
	}
	c.service("own", "10.96.0.8", nil, "p1")
	if _, src := c.ask(c.pods["p1"].NetNS, "tcp", "10.96.0.8:80", 1); src != c.nets[0].Gateway() {
		t.Errorf("a pod reaches itself from %s, want the gateway", src)
	}
	if _, src := c.ask(c.pods["p3"].NetNS, "tcp", "10.96.0.8:80", 1); src != c.pods["p3"].IPs[0] {
		t.Errorf("a pod's address arrives as %s", src)
	}
	c.service("web", "10.96.0.7", nil, "p3")
	c.wantAll(c.pods["p1"].NetNS, "tcp", "10.96.0.7:80", "p3")

	c.service("web", "10.96.0.7", nil)
	for _, addr := range []string{"10.96.0.7:80", "10.96.0.8:81"} { // no endpoint; no such port
		for _, ns := range []string{c.pods["p1"].NetNS, c.nodes[0].NetNS} {
			if _, _, err := netlab.Ask(ns, "tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%s without endpoints: %v, want a refusal", addr, err)
			}
		}
	}
	if _, _, err := netlab.Ask(c.pods["p1"].NetNS, "udp", "10.96.0.7:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("UDP without endpoints: %v, want a refusal", err)
	}
	if err := c.api.Delete(context.Background(), api.Services.Resource, "ns", "own", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.settle()
	if _, _, err := netlab.Ask(c.pods["p1"].NetNS, "tcp", "10.96.0.8:80"); err == nil {
		t.Error("a deleted service answers")
	}
}

func TestNodePort(t *testing.T) {
	c := newCluster(t)
	nodePort := func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.ExternalIPs = []string{"198.51.100.9"}
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 30080, 30080
	}
	c.service("web", "10.96.0.7", nodePort, "p1", "p3")
	for _, n := range c.nodes {
		for _, from := range []string{c.outside.NetNS, c.pods["p1"].NetNS, c.pods["p2"].NetNS, c.nodes[0].NetNS, c.nodes[1].NetNS} {
			c.wantAll(from, "tcp", n.IP.String()+":30080", "p1", "p3")
			c.wantAll(from, "udp", n.IP.String()+":30080", "p1", "p3")
		}
	}
	c.wantAll(c.nodes[0].NetNS, "tcp", "127.0.0.1:30080", "p1", "p3")
	c.wantAll(c.pods["p2"].NetNS, "tcp", "198.51.100.9:80", "p1", "p3")

	c.service("web", "10.96.0.7", func(s *corev1.Service) {
		nodePort(s)
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}, "p1")
	if src := c.wantAll(c.outside.NetNS, "tcp", c.nodes[0].IP.String()+":30080", "p1"); src != c.outside.IP {
		t.Errorf("local policy: the pod sees %s, want the client's %s", src, c.outside.IP)
	}
	c.wantAll(c.pods["p3"].NetNS, "tcp", c.nodes[1].IP.String()+":30080", "p1") // from within: the whole service
	c.wantAll(c.nodes[1].NetNS, "tcp", c.nodes[1].IP.String()+":30080", "p1")
	if _, _, err := netlab.Ask(c.outside.NetNS, "tcp", c.nodes[1].IP.String()+":30080"); err == nil || errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("local policy, no endpoint here: %v, want silence", err)
	}
	c.service("web", "10.96.0.7", nodePort)
	if _, _, err := netlab.Ask(c.outside.NetNS, "tcp", c.nodes[1].IP.String()+":30080"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("no endpoints: %v, want a refusal", err)
	}
}

func TestAffinity(t *testing.T) {
	c := newCluster(t)
	sticky := func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }
	c.service("web", "10.96.0.7", sticky, "p1", "p2", "p3")
	counts, _ := c.ask(c.pods["p3"].NetNS, "tcp", "10.96.0.7:80", 20)
	if len(counts) != 1 {
		t.Fatalf("one client was served by %v", counts)
	}
	var favourite string
	for favourite = range counts {
	}
	var others []string
	for _, p := range []string{"p1", "p2", "p3"} {
		if p != favourite {
			others = append(others, p)
		}
	}
	c.service("web", "10.96.0.7", sticky, favourite, others[0]) // another one goes
	if counts, _ = c.ask(c.pods["p3"].NetNS, "tcp", "10.96.0.7:80", 20); counts[favourite] != 20 {
		t.Errorf("after another endpoint went: %v, want only %s", counts, favourite)
	}
	c.stop[1]()
	c.startProxy(1) // as after a crash
	if counts, _ = c.ask(c.pods["p3"].NetNS, "tcp", "10.96.0.7:80", 20); counts[favourite] != 20 {
		t.Errorf("after a restart: %v, want only %s", counts, favourite)
	}
	c.service("web", "10.96.0.7", sticky, others...) // the favourite goes
	if counts, _ = c.ask(c.pods["p3"].NetNS, "tcp", "10.96.0.7:80", 20); len(counts) != 1 || counts[favourite] != 0 {
		t.Errorf("after the endpoint went: %v", counts)
	}
	c.service("web", "10.96.0.7", func(s *corev1.Service) {
		sticky(s)
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: new(int32(1))}}
	}, others...)
	seen := map[string]bool{}
	c.eventually("affinity to time out", func() bool {
		time.Sleep(1100 * time.Millisecond) // longer than the timeout, that is what is tested
		counts, _ := c.ask(c.pods["p2"].NetNS, "tcp", "10.96.0.7:80", 1)
		for n := range counts {
			seen[n] = true
		}
		return len(seen) == 2
	})
}

// A UDP client that goes on sending from one socket must reach the new endpoint when the old one is gone.
func TestUDPFlowMoves(t *testing.T) {
	c := newCluster(t)
	c.service("web", "10.96.0.7", nil, "p1")
	var conn net.Conn
	err := netns.Do(c.pods["p2"].NetNS, func() (err error) {
		conn, err = net.Dial("udp4", "10.96.0.7:80")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if name, _, err := netlab.Exchange(conn); name != "p1" {
		t.Fatal(name, err)
	}
	moved := func(to string) {
		c.eventually("the flow to move to "+to, func() bool {
			name, _, err := netlab.Exchange(conn)
			return err == nil && name == to
		})
	}
	c.service("web", "10.96.0.7", nil, "p3")
	moved("p3")

	netlab.Serve(t, c.pods["p3"].NetNS, "udp", ":9090", "other")
	es, err := api.EndpointSlices.Get(context.Background(), c.api, "ns", "web-1")
	if err != nil {
		t.Fatal(err)
	}
	es = es.DeepCopy()
	es.Ports[1].Port = new(int32(9090))
	c.api.Add(api.EndpointSlices.Resource, es)
	moved("other") // on the same address
}

func TestRestartKeepsConnectionsAndRules(t *testing.T) {
	c := newCluster(t)
	c.service("web", "10.96.0.7", nil, "p1")
	c.stop[0]()
	c.wantAll(c.pods["p2"].NetNS, "tcp", "10.96.0.7:80", "p1")
	c.startProxy(0)
	c.wantAll(c.pods["p2"].NetNS, "tcp", "10.96.0.7:80", "p1")
}

func TestHealthCheckNodePort(t *testing.T) {
	c := newCluster(t)
	c.service("lb", "10.96.0.7", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 32000
		s.Spec.Ports[0].NodePort = 30080
	}, "p1", "p2")
	for i, want := range []struct{ code, local int }{{200, 2}, {503, 0}} {
		var resp *http.Response
		c.eventually("the health check port", func() (ok bool) {
			r, err := c.get(i, ":32000/")
			resp = r
			return err == nil
		})
		var body struct{ LocalEndpoints int }
		err := json.NewDecoder(resp.Body).Decode(&body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != want.code || body.LocalEndpoints != want.local {
			t.Errorf("node %d: %s with %d endpoints, %v; want %+v", i+1, resp.Status, body.LocalEndpoints, err, want)
		}
	}
	status := func(path string) int {
		resp, err := c.get(1, ":10256"+path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if h, l, other := status("/healthz"), status("/livez"), status("/"); h != 200 || l != 200 || other != 404 {
		t.Errorf("healthy node: %d %d %d", h, l, other)
	}
	_, err := api.Nodes.Mutate(context.Background(), c.api, "", "n2", "", func(n *corev1.Node) (bool, error) {
		n.Spec.Taints = []corev1.Taint{{Key: autoscalerTaint, Effect: corev1.TaintEffectNoSchedule}}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.eventually("the node to be ineligible", func() bool { return status("/healthz") == 503 })
	if status("/livez") != 200 {
		t.Error("a node that is about to go is not alive")
	}
}

// get asks node i over HTTP from outside.
func (c *cluster) get(i int, rest string) (*http.Response, error) {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(_ context.Context, _, addr string) (conn net.Conn, err error) {
			err = netns.Do(c.outside.NetNS, func() (err error) { conn, err = net.Dial("tcp4", addr); return err })
			return conn, err
		}}}
	return client.Get("http://" + c.nodes[i].IP.String() + rest)
}

// Whatever the order of changes, the difference leads to what a fresh start would write; and the kernel
// takes it.
func TestManyServices(t *testing.T) {
	lab := netlab.New(t)
	n := lab.Node()
	client := &apitest.Client{}
	p := NewProxy(client, Config{NodeName: "n1", NetNS: n.NetNS, PodCIDR: testFacts.PodCIDR})
	k, h, err := p.openKernel()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	const services = 3000
	build := func(i, endpoints int) Ruleset {
		sp := corev1.ServicePort{Name: "t", Protocol: "TCP", Port: 80}
		ip := fmt.Sprintf("10.96.%d.%d", i/250, i%250)
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: fmt.Sprint("s", i)}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{sp}}}
		es := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: new("t"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(80))}}}
		for e := range endpoints {
			es.Endpoints = append(es.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.%d", e/200, 2+e%200)}})
		}
		return compileService(s, []*discoveryv1.EndpointSlice{es}, testFacts).rules
	}
	m := newMerged()
	put := func(i, endpoints int) { m.set(fmt.Sprint("s", i), compiled{rules: build(i, endpoints)}, true) }
	write := func(what string) {
		start := time.Now()
		before, after := m.take()
		if err := k.apply(m.all, before, after); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %s", what, time.Since(start))
	}
	for i := range services {
		put(i, i%5)
	}
	write(fmt.Sprintf("%d services from nothing", services))
	put(7, 3000)
	write("one of them to 3000 endpoints")
	put(7, 2)
	write("and back")
	for i := range services {
		m.set(fmt.Sprint("s", i), compiled{}, false)
	}
	write("all gone")
}
