package routed

import (
	"io"
	"net"
	"testing"
	"time"

	"clipper/node/network/netlab"
	"clipper/node/network/netns"
)

// A transfer that fills every packet shows a wrong MTU or offload as a hang, on one node and between two.
func TestBulkTransfer(t *testing.T) {
	lab := netlab.New(t)
	na, nb := lab.Node(), lab.Node()
	a, b := openNode(t, na, "a", "10.244.0.0/24", t.TempDir()), openNode(t, nb, "b", "10.244.1.0/24", t.TempDir())
	peers := map[string]peer{"a": {ip: na.IP, cidr: a.cfg.PodCIDR}, "b": {ip: nb.IP, cidr: b.cfg.PodCIDR}}
	for _, n := range []*Network{a, b} {
		if err := n.syncPeers(peers); err != nil {
			t.Fatal(err)
		}
	}
	from, near, far := attach(t, a, "from"), attach(t, a, "near"), attach(t, b, "far")
	for name, to := range map[string]struct{ ns, addr string }{
		"one node":  {near.NetNS, near.IPs[0].String() + ":80"},
		"two nodes": {far.NetNS, far.IPs[0].String() + ":80"},
	} {
		const size = 64 << 20
		var l net.Listener
		err := netns.Do(to.ns, func() (err error) { l, err = net.Listen("tcp4", to.addr); return err })
		if err != nil {
			t.Fatal(err)
		}
		received := make(chan int64, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				received <- 0
				return
			}
			n, _ := io.Copy(io.Discard, conn)
			conn.Close()
			received <- n
		}()
		var conn net.Conn
		err = netns.Do(from.NetNS, func() (err error) { conn, err = net.DialTimeout("tcp4", to.addr, 2*time.Second); return err })
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_ = conn.SetDeadline(start.Add(20 * time.Second))
		if _, err := io.CopyN(conn, zeros{}, size); err != nil {
			t.Error(name, err)
		}
		conn.Close()
		if n := <-received; n != size {
			t.Errorf("%s: %d bytes of %d arrived", name, n, size)
		}
		t.Logf("%s: %.1f Gbit/s", name, size*8/time.Since(start).Seconds()/1e9)
		l.Close()
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
