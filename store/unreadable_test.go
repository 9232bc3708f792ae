package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/store"
	"clipper/store/log/etcd"
	"clipper/store/log/etcd/etcdtest"
)

// A lock is a store.Sealer whose keys are names: it opens what was sealed with one that it knows.
type lock struct {
	mu   sync.Mutex
	keys []string // the first seals
}

func (l *lock) Seal(_ context.Context, _ schema.GroupResource, _ string, plain []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]byte("locked:"+l.keys[0]+":"), plain...), nil
}

func (l *lock) Open(_ schema.GroupResource, _ string, sealed []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range l.keys {
		if plain, ok := bytes.CutPrefix(sealed, []byte("locked:"+key+":")); ok {
			return plain, nil
		}
	}
	return nil, errors.New("no matching key")
}

func (l *lock) Mark(sealed []byte) string {
	return strings.Join(strings.SplitN(string(sealed), ":", 3)[:2], ":")
}

func (l *lock) learn(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keys = append(l.keys, key)
}

// isUnreadable checks that a key is there, and that nobody can do anything about it.
func isUnreadable(t *testing.T, s *store.Store, k store.Key) {
	t.Helper()
	var unreadable *store.UnreadableError
	if it, _, err := s.Lookup(k); !errors.As(err, &unreadable) || unreadable.Path != k.Path() || unreadable.Err.Error() != "no matching key" {
		t.Errorf("%v is %v, %v", k, it, err)
	}
	if _, _, err := s.Latest(t.Context(), k); !errors.As(err, &unreadable) {
		t.Errorf("latest of %v: %v", k, err)
	}
	for namespace, readable := range map[string]bool{"": false, k.Namespace: false, "other": true} {
		if err := s.Complete(k.Resource, namespace); (err == nil) != readable {
			t.Errorf("namespace %q: %v", namespace, err)
		}
	}
	var conflict *store.ConflictError
	if _, err := s.Commit(t.Context(), store.Write{Key: k, Object: pod(k.Namespace, k.Name, "overwritten")}); !errors.As(err, &conflict) {
		t.Errorf("create over it: %v", err)
	}
	if got := s.Unreadable(); len(got) != 1 || got[0] != k {
		t.Errorf("unreadable are %v", got)
	}
}

// TestUnreadableAtStart: a value without its key stops nobody else, is not written over, and is there again, for watches
// and views too, when its key is.
func TestUnreadableAtStart(t *testing.T) {
	l := &memory{}
	o := options()
	o.Sealer = &lock{keys: []string{"old"}}
	s := open(t, l, o)
	lost := create(t, s, "ns", "lost", "n1")
	s.Close()
	newer := &lock{keys: []string{"new"}}
	o.Sealer = newer
	s = open(t, l, o)
	create(t, s, "ns", "other", "n2")
	was := string(l.entries["/registry/pods/ns/lost"].Value)
	isUnreadable(t, s, podKey("ns", "lost"))
	if now := string(l.entries["/registry/pods/ns/lost"].Value); now != was {
		t.Errorf("the value was %q and is %q", was, now)
	}
	f := s.Follow("pods")
	if events, err := f.Next(t.Context()); err != nil || len(events) != 1 || events[0].New.Key.Name != "other" {
		t.Fatalf("a view begins with %v %v", events, err)
	}
	w, err := s.Watch("pods", "", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	newer.learn("old")
	it, ok, err := s.Lookup(podKey("ns", "lost"))
	if err != nil || !ok || it.Revision != lost.Revision || state(it) != "n1" {
		t.Fatalf("with its key: %v %v %v", it, ok, err)
	}
	if _, _, err := w.Next(t.Context()); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("the watch goes on: %v", err)
	}
	if events, err := f.Next(t.Context()); err != nil || len(events) != 1 || events[0].New != it {
		t.Errorf("the view learns of %v %v", events, err)
	}
	if err := s.Complete("pods", ""); err != nil || len(s.Unreadable()) > 0 {
		t.Errorf("still incomplete: %v", err)
	}
	mustCommit(t, s, store.Write{Key: podKey("ns", "lost"), Expect: it.Revision, Object: pod("ns", "lost", "n3")})
	s.Close()
	if back, ok := open(t, l, o).Get(podKey("ns", "lost")); !ok || state(back) != "n3" {
		t.Errorf("after another restart: %v", back)
	}
}

// TestUnreadableWhileFollowing: what another server writes with a key that this one does not know is not answered with
// an older state.
func TestUnreadableWhileFollowing(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	server := func(keys ...string) (*store.Store, *lock) {
		l, err := etcd.Open(t.Context(), etcd.Config{Endpoints: cluster.Endpoints(), Compaction: -1})
		if err != nil {
			t.Fatal(err)
		}
		o, sealer := options(), &lock{keys: keys}
		o.Sealer = sealer
		s, err := store.OpenShared(context.Background(), l, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s, sealer
	}
	behind, sealer := server("old")
	first := create(t, behind, "ns", "a", "n1")
	ahead, _ := server("new", "old")
	second := mustCommit(t, ahead, store.Write{Key: podKey("ns", "a"), Expect: first.Revision, Object: pod("ns", "a", "n2")})
	if err := behind.WaitRevision(t.Context(), second.Revision); err != nil {
		t.Fatal(err)
	}
	isUnreadable(t, behind, podKey("ns", "a"))
	if err := behind.Healthy(t.Context()); err != nil {
		t.Errorf("one value makes the server unhealthy: %v", err)
	}
	third, _ := server("old")
	isUnreadable(t, third, podKey("ns", "a"))
	sealer.learn("new")
	if it, ok, err := behind.Lookup(podKey("ns", "a")); err != nil || !ok || it.Revision != second.Revision || state(it) != "n2" {
		t.Errorf("with its key: %v %v %v", it, ok, err)
	}
	gone := mustCommit(t, ahead, store.Write{Key: podKey("ns", "a"), Expect: second.Revision})
	if err := third.WaitRevision(t.Context(), gone.Revision); err != nil {
		t.Fatal(err)
	}
	if it, ok, err := third.Lookup(podKey("ns", "a")); ok || err != nil || len(third.Unreadable()) > 0 {
		t.Error(fmt.Sprint("deleted, and yet ", it, err, third.Unreadable()))
	}
}

// TestSpoilt: a value that somebody else has spoilt stops neither the start nor a server that runs, hides nothing else
// and is not written over. Once it is gone, so is the fault.
func TestSpoilt(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	server := func() *store.Store {
		l, err := etcd.Open(t.Context(), etcd.Config{Endpoints: cluster.Endpoints(), Compaction: -1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := store.OpenShared(context.Background(), l, options())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	client := cluster.Client()
	put := func(key, value string) int64 {
		t.Helper()
		answer, err := client.Put(t.Context(), key, value)
		if err != nil {
			t.Fatal(err)
		}
		return answer.Header.Revision
	}
	running := server()
	create(t, running, "ns", "good", "n1")
	create(t, running, "ns", "a", "n1")
	spoilt := put("/registry/pods/ns/a", "bogus data")
	put("/registry/unheard.of/ns/b", "bogus data")
	if err := running.WaitRevision(t.Context(), spoilt); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*store.Store{"running": running, "started": server()} {
		var unreadable *store.UnreadableError
		if it, _, err := s.Lookup(podKey("ns", "a")); !errors.As(err, &unreadable) || unreadable.Sealed || !strings.Contains(err.Error(), "neither protobuf nor JSON") {
			t.Errorf("%s: %v %v", name, it, err)
		}
		if err := s.Complete("pods", ""); !errors.As(err, &unreadable) {
			t.Errorf("%s: the list is complete: %v", name, err)
		}
		if _, ok := s.Get(podKey("ns", "good")); !ok || s.Complete("pods", "other") != nil || s.Healthy(t.Context()) != nil {
			t.Errorf("%s: one value hides others, or makes the server unhealthy", name)
		}
		var conflict *store.ConflictError
		if _, err := s.Commit(t.Context(), store.Write{Key: podKey("ns", "a"), Object: pod("ns", "a", "over it")}); !errors.As(err, &conflict) {
			t.Errorf("%s: created over it: %v", name, err)
		}
		if got := s.Unreadable(); len(got) != 1 {
			t.Errorf("%s: unreadable are %v", name, got)
		}
	}
	gone, err := client.Delete(t.Context(), "/registry/pods/ns/a")
	if err != nil {
		t.Fatal(err)
	}
	if err := running.WaitRevision(t.Context(), gone.Header.Revision); err != nil {
		t.Fatal(err)
	}
	if it, ok, err := running.Lookup(podKey("ns", "a")); err != nil || running.Complete("pods", "") != nil {
		t.Errorf("deleted, and yet %v %v %v", it, ok, err)
	}
}
