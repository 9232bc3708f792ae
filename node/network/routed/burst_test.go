package routed

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"clipper/node/network/netlab"
)

// One iteration is a hundred pods attached at once and detached at once.
func BenchmarkHundredAtOnce(b *testing.B) {
	lab := netlab.New(b)
	n := lab.Node()
	nw, err := Open(Config{StateDir: b.TempDir(), NetNS: n.NetNS, NodeName: "a", NodeIP: n.IP, PodCIDR: netlab.PodCIDR(0)})
	if err != nil {
		b.Fatal(err)
	}
	defer nw.Close()
	all := func(do func(id string) error) {
		var g errgroup.Group
		for i := range 100 {
			g.Go(func() error { return do(fmt.Sprint("p", i)) })
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		all(func(id string) error { _, err := nw.Attach(context.Background(), id, nil); return err })
		b.StopTimer()
		all(func(id string) error { return nw.Detach(context.Background(), id) })
		b.StartTimer()
	}
}
