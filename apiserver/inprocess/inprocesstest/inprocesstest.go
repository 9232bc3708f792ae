// Package inprocesstest gives tests an api.Client that behaves as in a server: the real catalogue and
// pipeline over a real store, whose log is in memory. Admission plug-ins are the caller's choice.
package inprocesstest

import (
	"context"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/served"
	"clipper/catalogue/all"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
)

// New returns a client of a fresh store with the namespace "default". When the test ends, an object that
// somebody changed in place fails it.
func New(t testing.TB) *inprocess.Client {
	t.Helper()
	l, err := pebble.Open("store", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	resources := all.Resources()
	prefixes := map[string]api.Resource{}
	for _, r := range resources {
		if r.Prefix != "" {
			prefixes[r.Prefix] = r.Resource
		}
	}
	s, err := store.Open(l, store.Options{Codec: codec.New(scheme.Scheme), Resources: prefixes, CheckMutation: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Verify(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	table, err := served.NewTable(resources)
	if err != nil {
		t.Fatal(err)
	}
	live := served.NewLive(table)
	p := pipeline.New(pipeline.Config{Store: s, Served: live})
	c := inprocess.New(p, live, s, &user.DefaultInfo{Name: "system:kube-controller-manager"}, "kube-controller-manager")
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := api.Namespaces.Create(context.Background(), c, ns); err != nil {
		t.Fatal(err)
	}
	return c
}
