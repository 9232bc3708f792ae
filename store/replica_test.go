package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/store"
	"clipper/store/log"
	"clipper/store/log/etcd"
	"clipper/store/log/etcd/etcdtest"
)

// A server is a store on an etcd cluster that a test may close and open again.
type server struct {
	t         *testing.T
	endpoints []string
	mu        sync.Mutex
	s         *store.Store
}

func newServer(t *testing.T, endpoints []string) *server {
	t.Helper()
	v := &server{t: t, endpoints: endpoints}
	v.s = v.open()
	t.Cleanup(func() { v.now().Close() })
	return v
}

func (v *server) open() *store.Store {
	v.t.Helper()
	l, err := etcd.Open(context.Background(), etcd.Config{Endpoints: v.endpoints, Compaction: -1})
	if err != nil {
		v.t.Error(err)
		return nil
	}
	o := options()
	o.TTL = map[string]time.Duration{"events": 2 * time.Second}
	s, err := store.OpenShared(context.Background(), l, o)
	if err != nil {
		v.t.Error(err)
	}
	return s
}

func (v *server) now() *store.Store {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.s
}

func (v *server) restart() {
	v.now().Close()
	s := v.open()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.s = s
}

// onEtcd returns a store on a new etcd of one member, and a client of it.
func onEtcd(t *testing.T) (*store.Store, *clientv3.Client) {
	t.Helper()
	cluster := etcdtest.Start(t, 1)
	return newServer(t, cluster.Endpoints()).now(), cluster.Client()
}

func TestModelOnEtcd(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			s, _ := onEtcd(t)
			modelOn(t, s, seed)
			if err := s.Verify(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestTwoServers has one store see at once what another was acknowledged.
func TestTwoServers(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	a, b := newServer(t, cluster.Endpoints()).now(), newServer(t, cluster.Endpoints()).now()
	w, err := b.Watch("pods", "", b.Revision())
	if err != nil {
		t.Fatal(err)
	}
	one := create(t, a, "ns", "one", "n1")
	it, ok, err := b.Latest(t.Context(), podKey("ns", "one"))
	if err != nil || !ok || it.Revision != one.Revision || it.Created != one.Created {
		t.Fatalf("the other server has %+v %v %v, want revision %d", it, ok, err, one.Revision)
	}
	two := mustCommit(t, b, store.Write{Key: podKey("ns", "one"), Expect: one.Revision, Object: pod("ns", "one", "n2")})
	_, err = a.Commit(t.Context(), store.Write{Key: podKey("ns", "one"), Expect: one.Revision, Object: pod("ns", "one", "n3")})
	var conflict *store.ConflictError
	if !errors.As(err, &conflict) || conflict.Current.Revision != two.Revision || state(conflict.Current) != "n2" {
		t.Fatalf("a write on an old revision: %v", err)
	}
	gone := mustCommit(t, a, store.Write{Key: podKey("ns", "one"), Expect: two.Revision})
	if gone.Revision <= two.Revision || gone.Object.GetResourceVersion() != fmt.Sprint(gone.Revision) {
		t.Errorf("the deleted object is %+v", gone)
	}
	if _, err := a.Commit(t.Context(), store.Write{Key: podKey("ns", "one")}); !errors.As(err, &conflict) {
		t.Errorf("deleting what is not there: %v", err)
	}
	if err := b.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, rev, err := w.Next(t.Context())
	if got := describe(events); err != nil || rev < gone.Revision || !strings.Contains(got, "one") || len(events) != 3 {
		t.Errorf("the other server's watch saw %s at %d: %v", got, rev, err)
	}
}

// TestRevisionOfOthers: the log's revision also moves by keys that are none of ours; readers do not wait for
// an event that never comes.
func TestRevisionOfOthers(t *testing.T) {
	s, client := onEtcd(t)
	before := s.Revision()
	for i := range 3 {
		if _, err := client.Put(t.Context(), "/elsewhere", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	if err := s.Fresh(t.Context()); err != nil || s.Revision() != before+3 {
		t.Fatalf("revision %d after three foreign writes to %d: %v", s.Revision(), before, err)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestForeignKeys: what others keep below the prefix is left alone; what is ours and cannot be read is an error for
// whoever reads it, or writes over it.
func TestForeignKeys(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	client := cluster.Client()
	for key, value := range map[string]string{
		"/registry/health":                           "x",
		"/registry/ranges/serviceips":                "k8s\x00\x0a\x15\x0a\x02v1\x12\x0fRangeAllocation",
		"/registry/a/b/c/d/e":                        "x",
		"/registry/podsecuritypolicy/x":              "k8s\x00\x0a\x20\x0a\x0epolicy/v1beta1\x12\x0ePodSecurityPolicy",
		"/registry/stable.example.com/crontabs/ns/a": `{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"namespace":"ns","name":"a"}}`,
		"/registry/other.example.com/things/ns/a":    `not JSON`,
	} {
		if _, err := client.Put(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	v := newServer(t, cluster.Endpoints())
	s := v.now()
	if got := s.Resources(); !slices.Equal(got, []string{"stable.example.com/crontabs"}) {
		t.Errorf("resources are %q", got)
	}
	good := create(t, s, "ns", "p", "n1")
	if _, err := client.Put(t.Context(), "/registry/pods/ns/p", "damaged"); err != nil {
		t.Fatal(err)
	}
	if it, ok, err := s.Latest(t.Context(), good.Key); err == nil || !strings.Contains(err.Error(), "/registry/pods/ns/p") {
		t.Errorf("a damaged key shows %+v %v %v", it, ok, err)
	}
	if _, err := s.Commit(t.Context(), store.Write{Key: good.Key, Expect: good.Revision, Object: pod("ns", "p", "n2")}); err == nil || !strings.Contains(err.Error(), "/registry/pods/ns/p") {
		t.Errorf("a write over a damaged key: %v", err)
	}
	if _, err := client.Delete(t.Context(), "/registry/pods/ns/p"); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := s.Latest(t.Context(), good.Key); err != nil || ok {
		t.Errorf("after the damaged key was removed: %v %v", ok, err)
	}
	if err := s.Healthy(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCompactedUnderUs pauses a follower's etcd connection by stopping the store's reading and compacts what it
// has not read: it takes over the present state, watches start anew, followers see the net difference.
func TestCompactedUnderUs(t *testing.T) {
	l := &pausable{}
	cluster := etcdtest.Start(t, 1)
	inner, err := etcd.Open(t.Context(), etcd.Config{Endpoints: cluster.Endpoints(), Compaction: -1})
	if err != nil {
		t.Fatal(err)
	}
	l.Log, l.gate = inner, make(chan struct{})
	s, err := store.OpenShared(t.Context(), l, options())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	close(l.gate)
	kept, gone := create(t, s, "ns", "kept", "n1"), create(t, s, "ns", "gone", "n1")
	f := s.Follow("pods")
	if _, err := f.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	w, err := s.Watch("pods", "", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	l.pause() // from here on nothing is followed
	other := newServer(t, cluster.Endpoints()).now()
	mustCommit(t, other, store.Write{Key: gone.Key, Expect: gone.Revision})
	create(t, other, "ns", "new", "n1")
	last := create(t, other, "ns", "newer", "n1")
	if _, err := cluster.Client().Compact(t.Context(), last.Revision, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	l.resume()
	if err := s.Fresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Next(t.Context()); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a watch across a gap: %v", err)
	}
	events, err := f.Next(t.Context())
	if got := describe(events); err != nil || len(events) != 3 {
		t.Errorf("a follower across a gap sees %s: %v", got, err)
	}
	if it, ok := s.Get(kept.Key); !ok || it != kept {
		t.Error("what did not change is not the same object any more")
	}
	if err := s.Verify(); err != nil {
		t.Error(err)
	}
}

// pausable is a shared log whose following can be interrupted.
type pausable struct {
	*etcd.Log
	mu     sync.Mutex
	gate   chan struct{} // closed: go on
	cancel context.CancelFunc
}

func (p *pausable) Follow(ctx context.Context, after int64, fn func(entries []log.Entry, revision int64) error) error {
	p.mu.Lock()
	gate := p.gate
	ctx, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	p.mu.Unlock()
	defer cancel()
	select {
	case <-gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.Log.Follow(ctx, after, fn)
}

func (p *pausable) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate = make(chan struct{})
	p.cancel()
}

func (p *pausable) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.gate)
}

// TestPastOfOthers: a list that was begun on one server goes on at another that was not there then.
func TestPastOfOthers(t *testing.T) {
	cluster := etcdtest.Start(t, 1)
	a := newServer(t, cluster.Endpoints()).now()
	one := create(t, a, "ns", "one", "n1")
	two := create(t, a, "ns", "two", "n1")
	mustCommit(t, a, store.Write{Key: one.Key, Expect: one.Revision})
	b := newServer(t, cluster.Endpoints()).now()
	sn, err := b.ReadAt(t.Context(), "pods", two.Revision)
	if err != nil || sn.Revision() != two.Revision || names(sn, "", store.Key{}) != "ns/one ns/two" {
		t.Errorf("the past is %q at %d: %v", names(sn, "", store.Key{}), sn.Revision(), err)
	}
	if _, err := cluster.Client().Compact(t.Context(), b.Revision()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.ReadAt(t.Context(), "pods", two.Revision); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("a past that is gone: %v", err)
	}
}

// TestLeases: objects of resources with a life go by themselves, many at one revision.
func TestLeases(t *testing.T) {
	s, client := onEtcd(t)
	w, err := s.Watch("events", "", s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	const n = 10
	for i := range n {
		name := fmt.Sprint("e", i)
		mustCommit(t, s, store.Write{Key: store.Key{Resource: "events", Namespace: "ns", Name: name},
			Object: &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}})
	}
	leases, err := client.Leases(t.Context())
	if err != nil || len(leases.Leases) > n {
		t.Errorf("%d leases for %d events: %v", len(leases.Leases), n, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	created, deleted := 0, 0
	for deleted < n {
		events, _, err := w.Next(ctx)
		if err != nil {
			t.Fatalf("%d created, %d gone: %v", created, deleted, err)
		}
		for _, e := range events {
			if e.New != nil {
				created++
			} else {
				deleted++
			}
		}
	}
	if created != n || len(names(s.Snapshot("events"), "", store.Key{})) != 0 {
		t.Errorf("%d created, left are %q", created, names(s.Snapshot("events"), "", store.Key{}))
	}
}

// TestNoQuorum: without a majority writes and fresh reads fail in bounded time, say why, and work again after it.
func TestNoQuorum(t *testing.T) {
	cluster := etcdtest.Start(t, 3)
	s := newServer(t, cluster.Endpoints()).now()
	one := create(t, s, "ns", "one", "n1")
	cluster.Kill(0)
	cluster.Kill(1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	_, err := s.Commit(ctx, store.Write{Key: podKey("ns", "two"), Object: pod("ns", "two", "n1")})
	if err == nil || time.Since(start) > 11*time.Second {
		t.Errorf("a write without a majority: %v after %v", err, time.Since(start))
	}
	t.Logf("a write says: %v", err)
	if err := s.Healthy(t.Context()); err == nil {
		t.Error("a store without a majority is healthy")
	}
	if it, ok := s.Get(one.Key); !ok || it != one {
		t.Error("what was read once cannot be read any more")
	}
	cluster.Restart(0)
	for deadline := time.Now().Add(30 * time.Second); s.Healthy(t.Context()) != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("with a majority again: %v", s.Healthy(t.Context()))
		}
		time.Sleep(50 * time.Millisecond) // asking all the time would take the processors from the election
	}
	mustCommit(t, s, store.Write{Key: one.Key, Expect: one.Revision, Object: pod("ns", "one", "n2")})
}

func TestNobodyAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := etcd.Open(ctx, etcd.Config{Endpoints: []string{"http://127.0.0.1:1"}})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
}
