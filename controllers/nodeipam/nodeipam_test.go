package nodeipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

func node(name, cidr string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: cidr}}
}

func run(t *testing.T, client *apitest.Client, cluster string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- New(client, netip.MustParsePrefix(cluster), DefaultBits, nil).Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func cidrs(t *testing.T, client *apitest.Client, want int) map[string]string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		out := map[string]string{}
		for _, n := range api.Nodes.View(client).List("") {
			if n.Spec.PodCIDR != "" {
				if other, taken := out[n.Spec.PodCIDR]; taken {
					t.Fatalf("%s belongs to %s and %s", n.Spec.PodCIDR, other, n.Name)
				}
				out[n.Spec.PodCIDR] = n.Name
			}
		}
		if len(out) == want {
			return out
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d nodes have a share, want %d: %v", len(out), want, out)
		}
	}
}

func TestEveryNodeGetsItsOwnShare(t *testing.T) {
	client := &apitest.Client{}
	client.Add(api.Nodes.Resource, node("a", ""), node("old", "10.42.0.0/24"), node("theirs", "192.168.0.0/24"))
	run(t, client, "10.42.0.0/16")
	for i := range 100 {
		client.Add(api.Nodes.Resource, node(fmt.Sprint("n", i), ""))
	}
	got := cidrs(t, client, 103)
	if got["10.42.0.0/24"] != "old" || got["192.168.0.0/24"] != "theirs" {
		t.Errorf("shares that were there have changed hands: %v", got)
	}
}

func TestExhaustedAndFreed(t *testing.T) {
	client := &apitest.Client{}
	for i := range 4 {
		client.Add(api.Nodes.Resource, node(fmt.Sprint("n", i), ""))
	}
	run(t, client, "10.42.0.0/23")
	cidrs(t, client, 2)
	for _, n := range api.Nodes.View(client).List("") {
		if n.Spec.PodCIDR != "" {
			if err := client.Delete(context.Background(), api.Nodes.Resource, "", n.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cidrs(t, client, 2)
}

func TestNth(t *testing.T) {
	s := newShares(netip.MustParsePrefix("10.42.0.0/16"), 24)
	if s.count() != 256 || s.nth(0).String() != "10.42.0.0/24" || s.nth(255).String() != "10.42.255.0/24" {
		t.Errorf("%d: %s … %s", s.count(), s.nth(0), s.nth(255))
	}
}

// TestOtherSize: nodes keep shares of the size there was when they joined; no new one overlaps them.
func TestOtherSize(t *testing.T) {
	s := newShares(netip.MustParsePrefix("10.42.0.0/16"), 23)
	s.claim("before", "10.42.1.0/24")
	s.claim("wide", "10.42.4.0/22")
	var got []string
	for range 2 {
		p, err := s.take("new")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.String())
	}
	if want := []string{"10.42.2.0/23", "10.42.8.0/23"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
