package presence

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/apiserver/inprocess/inprocesstest"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
)

// TestIdentity: the name is that of a kube-apiserver on the same host.
func TestIdentity(t *testing.T) {
	if got := Identity("host-a"); len(got) != len("apiserver-")+26 || got == Identity("host-b") || got != Identity("host-a") {
		t.Error(got)
	}
}

func TestLease(t *testing.T) {
	client := inprocesstest.New(t)
	a := New(Config{Client: client, Host: "one"})
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a.now = func() time.Time { return start }
	ctx := t.Context()
	for range 2 {
		if err := a.renew(ctx); err != nil {
			t.Fatal(err)
		}
		a.now = func() time.Time { return start.Add(renewEvery) }
	}
	l, ok := api.Leases.View(client).Get("kube-system", a.identity)
	if !ok || *l.Spec.HolderIdentity != a.holder || *l.Spec.LeaseDurationSeconds != 3600 || !l.Spec.RenewTime.Time.Equal(start.Add(renewEvery)) ||
		l.Labels["apiserver.kubernetes.io/identity"] != "kube-apiserver" || l.Labels["kubernetes.io/hostname"] != "one" {
		t.Errorf("lease: %v", l)
	}
	other := New(Config{Client: client, Host: "two"})
	other.now = func() time.Time { return start.Add(-2 * time.Hour) }
	if err := other.renew(ctx); err != nil {
		t.Fatal(err)
	}
	foreign := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "somebody"}, Spec: coordinationv1.LeaseSpec{LeaseDurationSeconds: ptr.To(int32(1))}}
	if _, err := api.Leases.Create(ctx, client, foreign); err != nil {
		t.Fatal(err)
	}
	if err := a.collect(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{a.identity: true, other.identity: false, "somebody": true} {
		if _, ok := api.Leases.View(client).Get("kube-system", name); ok != want {
			t.Errorf("%s: there is %v, want %v", name, ok, want)
		}
	}
}

// TestLeaseIsKept: what becomes of a lease is put right at the next look, and one that stands is not written.
func TestLeaseIsKept(t *testing.T) {
	client := inprocesstest.New(t)
	a := New(Config{Client: client, Host: "one"})
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	a.now = func() time.Time { return now }
	look := func() *coordinationv1.Lease {
		t.Helper()
		if err := a.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		l, ok := api.Leases.View(client).Get("kube-system", a.identity)
		if !ok {
			t.Fatal("there is no lease")
		}
		return l
	}
	first := look()
	now = now.Add(lookEvery)
	if l := look(); l.ResourceVersion != first.ResourceVersion {
		t.Error("a lease that stands was written")
	}
	for name, spoil := range map[string]func(*coordinationv1.Lease){
		"holder":     func(l *coordinationv1.Lease) { l.Spec.HolderIdentity = ptr.To("somebody") },
		"duration":   func(l *coordinationv1.Lease) { l.Spec.LeaseDurationSeconds = ptr.To(int32(1)) },
		"renew time": func(l *coordinationv1.Lease) { l.Spec.RenewTime = nil },
		"labels":     func(l *coordinationv1.Lease) { l.Labels = nil },
	} {
		l := look().DeepCopy()
		spoil(l)
		if _, err := api.Leases.Update(t.Context(), client, l); err != nil {
			t.Fatal(err)
		}
		if l := look(); !a.stands(l) {
			t.Errorf("%s: %v", name, l)
		}
	}
	if err := api.Leases.Delete(t.Context(), client, "kube-system", a.identity, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if l := look(); l.UID == first.UID {
		t.Error("it was not deleted")
	}
}

// TestEndpoints: servers that share a store are all in the endpoints, and one that leaves is not.
func TestEndpoints(t *testing.T) {
	client := inprocesstest.New(t)
	l, err := pebble.Open("store", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(l, store.Options{Codec: codec.New(scheme.Scheme)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server := func(address string) *Announcer {
		return New(Config{Client: client, Store: s, Host: address, Address: netip.MustParseAddrPort(address + ":6443"), Shared: true})
	}
	one, two := server("192.0.2.1"), server("192.0.2.2")
	for range 2 {
		for _, a := range []*Announcer{two, one} {
			if err := a.reconcile(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	addresses := func() string {
		ep, _ := api.Endpoints.View(client).Get("default", "kubernetes")
		slice, _ := api.EndpointSlices.View(client).Get("default", "kubernetes")
		var a, b []string
		for _, subset := range ep.Subsets {
			for _, address := range subset.Addresses {
				a = append(a, fmt.Sprintf("%s:%d", address.IP, subset.Ports[0].Port))
			}
		}
		for _, e := range slice.Endpoints {
			b = append(b, fmt.Sprintf("%s:%d", e.Addresses[0], *slice.Ports[0].Port))
		}
		return fmt.Sprint(a, b)
	}
	if got, want := addresses(), "[192.0.2.1:6443 192.0.2.2:6443] [192.0.2.1:6443 192.0.2.2:6443]"; got != want {
		t.Errorf("both: %s", got)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	two.leave(gone)
	if got, want := addresses(), "[192.0.2.1:6443] [192.0.2.1:6443]"; got != want {
		t.Errorf("after one has left: %s", got)
	}
}
