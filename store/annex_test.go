package store_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
	"clipper/store/log/etcd"
	"clipper/store/log/etcd/etcdtest"
)

// TestAnnex: a resource that is kept in an etcd of its own has that one's revisions, and leaves no trace in the other.
func TestAnnex(t *testing.T) {
	const kept = "services/specs"
	ctx := t.Context()
	main, apart := etcdtest.Start(t, 1), etcdtest.Start(t, 1)
	open := func(c *etcdtest.Cluster, keeps func(string) bool) *store.Store {
		t.Helper()
		l, err := etcd.Open(ctx, etcd.Config{Endpoints: c.Endpoints(), Compaction: -1})
		if err != nil {
			t.Fatal(err)
		}
		o := options()
		o.Keeps = keeps
		s, err := store.OpenShared(ctx, l, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for range 100 { // the other is far ahead, so that no revision can be taken for one of this
		if _, err := apart.Client().Put(ctx, "/else", "a"); err != nil {
			t.Fatal(err)
		}
	}
	s := open(main, func(prefix string) bool { return prefix != kept })
	s.Annex(open(apart, func(prefix string) bool { return prefix == kept }), kept)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := s.Of(kept).Commit(context.Background(), store.Write{Key: store.Key{Resource: kept, Namespace: "a", Name: "b"}}); !errors.Is(err, store.ErrClosed) {
			t.Errorf("the annex is open: %v", err)
		}
	})

	w, err := s.Watch(kept, "", s.Of(kept).Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "s"}}
	k := store.Key{Resource: kept, Namespace: "a", Name: "s"}
	it, err := s.Commit(ctx, store.Write{Key: k, Object: service})
	if err != nil || it.Revision < 100 {
		t.Fatal(it, err)
	}
	pod, err := s.Commit(ctx, store.Write{Key: store.Key{Resource: "pods", Namespace: "a", Name: "p"}, Object: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}}})
	if err != nil || pod.Revision > 100 {
		t.Fatal(pod, err)
	}
	if events, _, err := w.Next(ctx); err != nil || len(events) != 1 || events[0].New != it {
		t.Errorf("%v %v", events, err)
	}
	if found, ok := s.Get(k); !ok || found != it || s.Snapshot(kept).Len("") != 1 || s.Snapshot(kept).Revision() < 100 {
		t.Errorf("%v %v", found, ok)
	}
	if past, err := s.ReadAt(ctx, kept, it.Revision-1); err != nil || past.Len("") != 0 {
		t.Errorf("%v", err)
	}
	if all := s.Resources(); !slices.Equal(all, []string{"pods", kept}) {
		t.Errorf("%q", all)
	}
	for c, want := range map[*etcdtest.Cluster]int64{main: 0, apart: 1} {
		if res, err := c.Client().Get(ctx, k.Path()); err != nil || res.Count != want {
			t.Errorf("%d keys, want %d: %v", res.Count, want, err)
		}
	}

	// What somebody leaves in the wrong place is not shown: neither at once, nor after a start.
	value, err := apart.Client().Get(ctx, k.Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := main.Client().Put(ctx, k.Path(), string(value.Kvs[0].Value)); err != nil {
		t.Fatal(err)
	}
	again := open(main, func(prefix string) bool { return prefix != kept })
	defer again.Close()
	if _, ok, err := again.Latest(ctx, k); ok || err != nil {
		t.Errorf("a key in the wrong place is shown: %v", err)
	}
	if err := s.Fresh(ctx); err != nil {
		t.Fatal(err)
	}
	if found, ok := s.Get(k); !ok || found != it {
		t.Errorf("%v %v", found, ok)
	}
	everything := open(main, nil)
	defer everything.Close()
	if _, ok := everything.Get(k); !ok {
		t.Error("the key shows nothing to anybody")
	}
}
