package routed

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clipper/node/network"
	"clipper/node/network/netlab"
	"clipper/node/network/netns"
)

func openNode(t *testing.T, n *netlab.Node, name, cidr, dir string) *Network {
	t.Helper()
	nw, err := Open(Config{StateDir: dir, NetNS: n.NetNS, NodeName: name, NodeIP: n.IP,
		PodCIDR: netip.MustParsePrefix(cidr), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		detachAll(t, nw)
		nw.Close()
	})
	return nw
}

func detachAll(t *testing.T, nw *Network) {
	ids, err := nw.List(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		if err := nw.Detach(context.Background(), id); err != nil {
			t.Error(err)
		}
	}
}

func attach(t *testing.T, nw *Network, id string, ports ...network.PodPort) network.Attachment {
	t.Helper()
	a, err := nw.Attach(context.Background(), id, ports)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantAnswer(t *testing.T, ns, proto, addr, name string, source netip.Addr) {
	t.Helper()
	got, from, err := netlab.Ask(ns, proto, addr)
	if err != nil || got != name || (source.IsValid() && from != source) {
		t.Errorf("%s %s: answered by %q seeing %s, %v; want %q seeing %s", proto, addr, got, from, err, name, source)
	}
}

func TestTwoNodes(t *testing.T) {
	lab := netlab.New(t)
	na, nb, outside := lab.Node(), lab.Node(), lab.Node()
	a, b := openNode(t, na, "a", "10.244.0.0/24", t.TempDir()), openNode(t, nb, "b", "10.244.1.0/24", t.TempDir())
	peers := map[string]peer{
		"a": {ip: na.IP, cidr: a.cfg.PodCIDR, addrs: na.IP.String() + ","},
		"b": {ip: nb.IP, cidr: b.cfg.PodCIDR, addrs: nb.IP.String() + ","},
	}
	for range 2 { // the second time changes nothing
		for _, n := range []*Network{a, b} {
			if err := n.syncPeers(peers); err != nil {
				t.Fatal(err)
			}
		}
	}
	p1, p2, p3 := attach(t, a, "p1"), attach(t, a, "p2"), attach(t, b, "p3")
	for name, p := range map[string]network.Attachment{"p1": p1, "p2": p2, "p3": p3} {
		netlab.Serve(t, p.NetNS, "tcp", ":80", name)
		netlab.Serve(t, p.NetNS, "udp", ":80", name)
	}
	netlab.Serve(t, na.NetNS, "tcp", ":90", "a")
	netlab.Serve(t, nb.NetNS, "tcp", ":90", "b")
	netlab.Serve(t, outside.NetNS, "tcp", ":90", "outside")

	for _, proto := range []string{"tcp", "udp"} {
		wantAnswer(t, p1.NetNS, proto, p2.IPs[0].String()+":80", "p2", p1.IPs[0])
		wantAnswer(t, p1.NetNS, proto, p3.IPs[0].String()+":80", "p3", p1.IPs[0])
		wantAnswer(t, p3.NetNS, proto, p1.IPs[0].String()+":80", "p1", p3.IPs[0])
		wantAnswer(t, na.NetNS, proto, p1.IPs[0].String()+":80", "p1", a.Gateway())
		wantAnswer(t, na.NetNS, proto, p3.IPs[0].String()+":80", "p3", a.Gateway())
	}
	wantAnswer(t, p1.NetNS, "tcp", "127.0.0.1:80", "p1", netip.Addr{})
	wantAnswer(t, p1.NetNS, "tcp", na.IP.String()+":90", "a", p1.IPs[0])
	wantAnswer(t, p1.NetNS, "tcp", nb.IP.String()+":90", "b", p1.IPs[0]) // not masqueraded, answered by the overlay
	wantAnswer(t, p1.NetNS, "tcp", outside.IP.String()+":90", "outside", na.IP)

	a.Close()
	a = openNode(t, na, "a", "10.244.0.0/24", a.cfg.StateDir) // as after a crash, before it has heard of the other
	wantAnswer(t, p1.NetNS, "tcp", p3.IPs[0].String()+":80", "p3", p1.IPs[0])
	wantAnswer(t, p1.NetNS, "tcp", nb.IP.String()+":90", "b", p1.IPs[0])
	if err := a.syncPeers(map[string]peer{"a": peers["a"]}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := netlab.Ask(p1.NetNS, "tcp", p3.IPs[0].String()+":80"); err == nil {
		t.Error("a node that is gone is still reached")
	}
}

func TestHostPorts(t *testing.T) {
	lab := netlab.New(t)
	na, client := lab.Node(), lab.Node()
	a := openNode(t, na, "a", "10.244.0.0/24", t.TempDir())
	any := attach(t, a, "any", network.PodPort{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}, network.PodPort{HostPort: 8080, ContainerPort: 80, Protocol: "UDP"})
	local := attach(t, a, "local", network.PodPort{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: 8081, ContainerPort: 80, Protocol: "TCP"})
	byIP := attach(t, a, "byip", network.PodPort{HostIP: na.IP, HostPort: 8081, ContainerPort: 80, Protocol: "TCP"})
	for name, p := range map[string]network.Attachment{"any": any, "local": local, "byip": byIP} {
		netlab.Serve(t, p.NetNS, "tcp", ":80", name)
		netlab.Serve(t, p.NetNS, "udp", ":80", name)
	}
	node := na.IP.String()
	wantAnswer(t, client.NetNS, "tcp", node+":8080", "any", client.IP)
	wantAnswer(t, client.NetNS, "udp", node+":8080", "any", client.IP)
	wantAnswer(t, client.NetNS, "tcp", node+":8081", "byip", client.IP)
	wantAnswer(t, na.NetNS, "tcp", "127.0.0.1:8080", "any", a.Gateway())
	wantAnswer(t, na.NetNS, "tcp", "127.0.0.1:8081", "local", a.Gateway())
	wantAnswer(t, na.NetNS, "tcp", node+":8081", "byip", netip.Addr{})
	wantAnswer(t, any.NetNS, "tcp", node+":8080", "any", a.Gateway()) // itself, by the node's address
	wantAnswer(t, local.NetNS, "tcp", node+":8080", "any", local.IPs[0])

	a.Close()
	a = openNode(t, na, "a", "10.244.0.0/24", a.cfg.StateDir) // as after a crash
	wantAnswer(t, client.NetNS, "tcp", node+":8081", "byip", client.IP)
	if err := a.Detach(context.Background(), "byip"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := netlab.Ask(client.NetNS, "tcp", node+":8081"); err == nil {
		t.Error("the host port of a detached pod still answers")
	}

	// A port changes hands while its old pod is on its way out.
	heir := attach(t, a, "heir", network.PodPort{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}, network.PodPort{HostPort: 8080, ContainerPort: 80, Protocol: "UDP"})
	netlab.Serve(t, heir.NetNS, "tcp", ":80", "heir")
	wantAnswer(t, client.NetNS, "tcp", node+":8080", "heir", client.IP)
	if err := a.Detach(context.Background(), "any"); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, client.NetNS, "tcp", node+":8080", "heir", client.IP)
	if err := a.Detach(context.Background(), "heir"); err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"tcp", "udp"} {
		if _, _, err := netlab.Ask(client.NetNS, proto, node+":8080"); err == nil {
			t.Errorf("the %s host port of a detached pod still answers", proto)
		}
	}
}

// A crash is a copy of the network that stops between two steps and a new one that carries on.
func TestCrashRepeat(t *testing.T) {
	lab := netlab.New(t)
	na := lab.Node()
	dir := t.TempDir()
	a := openNode(t, na, "a", "10.244.0.0/28", dir)
	kept := attach(t, a, "kept")
	steps := map[string]func(r record) error{
		"reserved":  func(record) error { return nil },
		"namespace": func(record) error { return netns.Create(a.nsPath("half")) },
		"connected": func(r record) error { return a.connect("half", r) },
		"detaching": func(r record) error {
			if err := a.connect("half", r); err != nil {
				return err
			}
			return a.disconnect("half", r.IP)
		},
	}
	for name, step := range steps {
		r, err := a.reserve("half", nil)
		if err != nil {
			t.Fatal(name, err)
		}
		if err := step(r); err != nil {
			t.Fatal(name, err)
		}
		a = openNode(t, na, "a", "10.244.0.0/28", dir)
		ids, err := a.List(context.Background())
		slices.Sort(ids)
		if err != nil || !slices.Equal(ids, []string{"half", "kept"}) {
			t.Fatalf("%s: after the crash List returns %q, %v", name, ids, err)
		}
		if got := attach(t, a, "half"); got.IPs[0] != r.IP {
			t.Errorf("%s: address %s after the crash, %s before", name, got.IPs[0], r.IP)
		}
		if got := attach(t, a, "kept"); got.IPs[0] != kept.IPs[0] {
			t.Errorf("%s: kept pod has %s, had %s", name, got.IPs[0], kept.IPs[0])
		}
		if err := a.Detach(context.Background(), "half"); err != nil {
			t.Fatal(name, err)
		}
	}
	// Nothing may have leaked: a /28 has 13 addresses, one is kept.
	for i := range 12 {
		attach(t, a, fmt.Sprint("fill", i))
	}
	if _, err := a.Attach(context.Background(), "one-too-many", nil); err == nil {
		t.Error("the fourteenth of thirteen addresses was given out")
	}
	if err := a.Detach(context.Background(), "fill3"); err != nil {
		t.Fatal(err)
	}
	attach(t, a, "one-too-many")
}

// Somebody holds on to the namespace of a pod that is gone: its address is free for the next one all the
// same, it can send nothing under it, and its device is swept up.
func TestHeldNamespace(t *testing.T) {
	lab := netlab.New(t)
	n, client := lab.Node(), lab.Node()
	a := openNode(t, n, "a", "10.244.0.0/29", t.TempDir()) // five addresses
	old := attach(t, a, "old")
	held := filepath.Join(t.TempDir(), "held")
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(old.NetNS, held, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(held, unix.MNT_DETACH)
	netlab.Serve(t, client.NetNS, "tcp", ":90", "client")
	wantAnswer(t, held, "tcp", client.IP.String()+":90", "client", n.IP)
	if err := a.Detach(context.Background(), "old"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := netlab.Ask(held, "tcp", client.IP.String()+":90"); err == nil {
		t.Error("a detached pod still reaches the world")
	}
	var heir network.Attachment
	for i := range 5 {
		if p := attach(t, a, fmt.Sprint("p", i)); p.IPs[0] == old.IPs[0] {
			heir = p
		}
	}
	netlab.Serve(t, heir.NetNS, "tcp", ":80", "heir")
	wantAnswer(t, n.NetNS, "tcp", old.IPs[0].String()+":80", "heir", netip.Addr{})
	if !a.linkExists(a.vethName("old")) {
		t.Fatal("the device is gone before the sweep: nothing is tested")
	}
	if err := a.sweep(); err != nil {
		t.Fatal(err)
	}
	if a.linkExists(a.vethName("old")) || !a.linkExists(a.vethName("p0")) {
		t.Error("sweep took the wrong devices")
	}
	wantAnswer(t, n.NetNS, "tcp", old.IPs[0].String()+":80", "heir", netip.Addr{})
}

func TestAttachIsQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	lab := netlab.New(t)
	a := openNode(t, lab.Node(), "a", "10.244.0.0/24", t.TempDir())
	took := make([]time.Duration, 50)
	for i := range took {
		start := time.Now()
		attach(t, a, fmt.Sprint("p", i))
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	t.Logf("attach: median %s, slowest %s", took[len(took)/2], took[len(took)-1])
	if median := took[len(took)/2]; median > 30*time.Millisecond {
		t.Errorf("median attach takes %s", median)
	}
}

func TestPoolAgainstBruteForce(t *testing.T) {
	p := newPool(netip.MustParsePrefix("10.0.0.0/28"))
	owner := map[netip.Addr]string{}
	for i := range 500 {
		id := fmt.Sprint(i)
		if i%3 == 2 {
			for a := range owner { // any one
				p.free(a)
				delete(owner, a)
				break
			}
			continue
		}
		a, err := p.take(id)
		if len(owner) == 13 {
			if err == nil {
				t.Fatal("a full pool gave an address")
			}
			continue
		}
		if err != nil || owner[a] != "" || !netip.MustParsePrefix("10.0.0.0/28").Contains(a) || a.As4()[3] < 2 || a.As4()[3] > 14 {
			t.Fatalf("take: %s, %v; owner before %q", a, err, owner[a])
		}
		owner[a] = id
	}
}
