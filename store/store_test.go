package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/encrypt"
	"clipper/store/log"
	"clipper/store/log/pebble"
)

// memory is a log without a disk. gate, if set, is received from before each append.
type memory struct {
	gate    chan error
	rev     int64
	entries map[string]log.Entry
	appends int
}

func (m *memory) Load(fn func(log.Entry) error) (int64, error) {
	keys := []string{}
	for k := range m.entries {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if err := fn(m.entries[k]); err != nil {
			return 0, err
		}
	}
	return m.rev, nil
}

func (m *memory) Append(rev int64, entries []log.Entry) error {
	if m.gate != nil {
		if err := <-m.gate; err != nil {
			return err
		}
	}
	m.appends++
	for _, e := range entries {
		if m.entries == nil {
			m.entries = map[string]log.Entry{}
		}
		if m.entries[e.Key] = e; e.Value == nil {
			delete(m.entries, e.Key)
		}
	}
	m.rev = rev
	return nil
}

func (m *memory) Close() error { return nil }

func options() store.Options {
	return store.Options{
		Codec:         codec.New(scheme.Scheme),
		Resources:     map[string]api.Resource{"pods": api.Pods.Resource, "services/specs": api.Services.Resource},
		CheckMutation: true,
	}
}

func open(t testing.TB, l log.Log, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(l, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if o.CheckMutation {
			if err := s.Verify(); err != nil {
				t.Error(err)
			}
		}
		s.Close()
	})
	return s
}

func podKey(ns, name string) store.Key {
	return store.Key{Resource: "pods", Namespace: ns, Name: name}
}

func pod(ns, name, node string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.PodSpec{NodeName: node}}
}

func mustCommit(t testing.TB, s *store.Store, w store.Write) *store.Item {
	t.Helper()
	it, err := s.Commit(context.Background(), w)
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func create(t testing.TB, s *store.Store, ns, name, node string) *store.Item {
	t.Helper()
	return mustCommit(t, s, store.Write{Key: podKey(ns, name), Object: pod(ns, name, node)})
}

func TestLifeOfAnObject(t *testing.T) {
	l := &memory{}
	s := open(t, l, options())
	if s.Revision() != 1 {
		t.Fatalf("a new store is at revision %d; 0 means something else to clients", s.Revision())
	}
	a := create(t, s, "ns", "a", "n1")
	if a.Revision != 2 || a.Created != 2 || a.Object.GetResourceVersion() != "2" {
		t.Errorf("created: %+v", a)
	}
	var conflict *store.ConflictError
	if _, err := s.Commit(t.Context(), store.Write{Key: podKey("ns", "a"), Object: pod("ns", "a", "")}); !errors.As(err, &conflict) || conflict.Current != a {
		t.Errorf("second create: %v", err)
	}
	b := mustCommit(t, s, store.Write{Key: podKey("ns", "a"), Expect: 2, Object: pod("ns", "a", "n2")})
	if b.Revision != 3 || b.Created != 2 {
		t.Errorf("updated: %+v", b)
	}
	if got, _ := s.Get(podKey("ns", "a")); got != b {
		t.Errorf("get: %+v", got)
	}
	if _, err := s.Commit(t.Context(), store.Write{Key: podKey("ns", "a"), Expect: 2}); !errors.As(err, &conflict) || conflict.Current != b {
		t.Errorf("stale delete: %v", err)
	}
	gone := mustCommit(t, s, store.Write{Key: podKey("ns", "a"), Expect: 3})
	if gone.Revision != 4 || gone.Object.GetResourceVersion() != "4" || b.Object.GetResourceVersion() != "3" {
		t.Errorf("deleted: %+v, before %+v", gone, b)
	}
	if _, ok := s.Get(podKey("ns", "a")); ok {
		t.Error("a deleted object is still there")
	}
	if _, err := s.Commit(t.Context(), store.Write{Key: podKey("ns", "a"), Expect: 0}); !errors.As(err, &conflict) || conflict.Current != nil {
		t.Errorf("delete of nothing: %v", err)
	}
	s.Close()
	if again := open(t, l, options()); again.Revision() != 4 {
		t.Errorf("revision %d after a restart, want that of the deletion", again.Revision())
	}
}

// TestConflictSeesReserved: while a write is on its way to the disk, readers do not see it, and a second
// writer is told of it.
func TestConflictSeesReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &memory{gate: make(chan error)}
		s := open(t, l, options())
		first := make(chan *store.Item)
		go func() {
			it, _ := s.Commit(context.Background(), store.Write{Key: podKey("ns", "a"), Object: pod("ns", "a", "")})
			first <- it
		}()
		synctest.Wait()
		if _, ok := s.Get(podKey("ns", "a")); ok || s.Revision() != 1 {
			t.Error("an unsynced write is visible")
		}
		second := make(chan error, 1)
		go func() {
			_, err := s.Commit(context.Background(), store.Write{Key: podKey("ns", "a"), Object: pod("ns", "a", "")})
			second <- err
		}()
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("told of a state that could still be lost: %v", err)
		default:
		}
		// Several more form one group while the first syncs, one of them on top of what is reserved.
		rest := make(chan error)
		for i := range 5 {
			go func() {
				w := store.Write{Key: podKey("ns", fmt.Sprint("b", i)), Object: pod("ns", fmt.Sprint("b", i), "")}
				if i == 0 {
					w = store.Write{Key: podKey("ns", "a"), Expect: 2, Object: pod("ns", "a", "n1")}
				}
				_, err := s.Commit(context.Background(), w)
				rest <- err
			}()
		}
		synctest.Wait()
		l.gate <- nil
		made := <-first
		var conflict *store.ConflictError
		if err := <-second; !errors.As(err, &conflict) || conflict.Current != made {
			t.Errorf("second create: %v", err)
		}
		l.gate <- nil
		for range 5 {
			if err := <-rest; err != nil {
				t.Error(err)
			}
		}
		if l.appends != 2 {
			t.Errorf("%d appends for two groups", l.appends)
		}
	})
}

func TestLogFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cause := errors.New("no space left on device")
		l := &memory{gate: make(chan error, 1)}
		s := open(t, l, options())
		l.gate <- nil
		create(t, s, "ns", "a", "")
		w, err := s.Watch("pods", "", s.Revision())
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error)
		for _, name := range []string{"b", "c"} {
			go func() {
				_, err := s.Commit(context.Background(), store.Write{Key: podKey("ns", name), Object: pod("ns", name, "")})
				errs <- err
			}()
			synctest.Wait() // b is being appended, c waits in the next group
		}
		l.gate <- cause
		for range 2 {
			if err := <-errs; !errors.Is(err, store.ErrReadOnly) || !errors.Is(err, cause) {
				t.Errorf("commit on a failed log: %v", err)
			}
		}
		if _, err := s.Commit(t.Context(), store.Write{Key: podKey("ns", "d"), Object: pod("ns", "d", "")}); !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("a later commit: %v", err)
		}
		if _, ok := s.Get(podKey("ns", "a")); !ok || s.Revision() != 2 || s.Snapshot("pods").Len("") != 1 {
			t.Error("reads do not show exactly what was acknowledged")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if events, rev, err := w.Next(ctx); !errors.Is(err, context.DeadlineExceeded) || len(events) != 0 || rev != 2 {
			t.Errorf("the watch saw %v up to %d: %v", events, rev, err)
		}
	})
}

func names(sn store.Snapshot, ns string, after store.Key) string {
	var out []string
	sn.Ascend(ns, after, func(it *store.Item) bool {
		out = append(out, it.Key.Namespace+"/"+it.Key.Name)
		return true
	})
	return strings.Join(out, " ")
}

func TestSnapshots(t *testing.T) {
	s := open(t, &memory{}, options())
	for _, n := range []string{"b/2", "a/1", "b/1", "c/1", "b/3", "b-x/1"} {
		ns, name, _ := strings.Cut(n, "/")
		create(t, s, ns, name, "n1")
	}
	at := s.Revision()
	old := s.Snapshot("pods")
	it, _ := s.Get(podKey("b", "2"))
	mustCommit(t, s, store.Write{Key: it.Key, Expect: it.Revision, Object: pod("b", "2", "n2")})
	it, _ = s.Get(podKey("b", "1"))
	mustCommit(t, s, store.Write{Key: it.Key, Expect: it.Revision})
	create(t, s, "d", "1", "n2")

	reconstructed, err := s.SnapshotAt("pods", at)
	if err != nil {
		t.Fatal(err)
	}
	for name, sn := range map[string]store.Snapshot{"kept": old, "reconstructed": reconstructed} {
		if sn.Revision() != at {
			t.Errorf("%s: revision %d, want %d", name, sn.Revision(), at)
		}
		if got := names(sn, "", store.Key{}); got != "a/1 b/1 b/2 b/3 b-x/1 c/1" {
			t.Errorf("%s: %s", name, got)
		}
		if got := names(sn, "b", podKey("b", "1")); got != "b/2 b/3" {
			t.Errorf("%s: behind b/1: %s", name, got)
		}
		if n, r := sn.Len("b"), sn.Rank("b", podKey("b", "2")); n != 3 || r != 2 {
			t.Errorf("%s: %d objects in b, %d up to b/2", name, n, r)
		}
		if n1, n2 := sn.ByIndex(api.ByNode, "n1"), sn.ByIndex(api.ByNode, "n2"); len(n1) != 6 || len(n2) != 0 {
			t.Errorf("%s: %d pods on n1, %d on n2", name, len(n1), len(n2))
		}
	}
	now := s.Snapshot("pods")
	if got := names(now, "", podKey("b", "3")); got != "b-x/1 c/1 d/1" {
		t.Errorf("now behind b/3: %s", got)
	}
	if n2 := now.ByIndex(api.ByNode, "n2"); len(n2) != 2 || n2[0].Key.Name != "2" {
		t.Errorf("now on n2: %v", n2)
	}
	if got := s.Resources(); !slices.Equal(got, []string{"pods"}) {
		t.Errorf("resources %v", got)
	}
	if s.Snapshot("nothing").Len("") != 0 {
		t.Error("an unknown resource is not empty")
	}
}

func TestRevisionsOutOfReach(t *testing.T) {
	o := options()
	o.RingSize = 70
	s := open(t, &memory{}, o)
	w, err := s.Watch("pods", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		create(t, s, "ns", fmt.Sprint(i), "")
	}
	if _, err := s.SnapshotAt("pods", 30); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("old snapshot: %v", err)
	}
	if _, err := s.SnapshotAt("pods", 31); err != nil {
		t.Errorf("oldest snapshot: %v", err)
	}
	if _, err := s.SnapshotAt("pods", 102); !errors.Is(err, store.ErrFuture) {
		t.Errorf("future snapshot: %v", err)
	}
	if _, err := s.Watch("pods", "", 30); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("old watch: %v", err)
	}
	if _, err := s.Watch("pods", "", 102); !errors.Is(err, store.ErrFuture) {
		t.Errorf("future watch: %v", err)
	}
	if _, _, err := w.Next(t.Context()); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("overtaken watch: %v", err)
	}
}

// TestWatchOfWhatIsYetToCome: a resource that nobody has written yet has no history that could be gone.
func TestWatchOfWhatIsYetToCome(t *testing.T) {
	s := open(t, &memory{}, options())
	before := s.Revision()
	create(t, s, "ns", "a", "")
	w, err := s.Watch("services/specs", "", before)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	mustCommit(t, s, store.Write{Key: store.Key{Resource: "services/specs", Namespace: "ns", Name: "s"},
		Object: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}}})
	if events, _, err := w.Next(t.Context()); err != nil || len(events) != 1 {
		t.Errorf("%d events (%v)", len(events), err)
	}
}

func TestOldStatesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &memory{}, options())
		for i := range 100 {
			create(t, s, "ns", fmt.Sprint(i), "")
		}
		last := s.Revision()
		// The store lives on, but nothing happens to pods any more.
		for i := range 14 {
			if _, err := s.SnapshotAt("pods", last); i < 10 && err != nil {
				t.Errorf("after %d half minutes: %v", i, err)
			}
			time.Sleep(30 * time.Second)
			name := fmt.Sprint("tick-", i)
			mustCommit(t, s, store.Write{Key: store.Key{Resource: "configmaps", Namespace: "ns", Name: name},
				Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}})
		}
		if _, err := s.SnapshotAt("pods", last); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("after seven minutes the old state is given out: %v", err)
		}
		if _, err := s.Watch("pods", "", last); err != nil {
			t.Errorf("a watch has missed nothing and cannot go on: %v", err)
		}
		if _, err := s.Watch("pods", "", 30); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("a watch goes on although events are gone: %v", err)
		}
		if sn := s.Snapshot("pods"); sn.Len("") != 100 {
			t.Errorf("%d pods now", sn.Len(""))
		}
	})
}

func TestWatchProgressAndNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t, &memory{}, options())
		w, _ := s.Watch("pods", "mine", 1)
		type result struct {
			events []*store.Event
			rev    int64
			err    error
		}
		got := make(chan result)
		next := func(ctx context.Context) {
			e, r, err := w.Next(ctx)
			got <- result{e, r, err}
		}
		go next(t.Context())
		synctest.Wait()
		create(t, s, "other", "a", "")
		synctest.Wait()
		create(t, s, "mine", "b", "")
		if r := <-got; r.err != nil || len(r.events) != 1 || r.events[0].New.Key.Name != "b" || r.rev != 3 {
			t.Errorf("first: %+v", r)
		}
		mustCommit(t, s, store.Write{Key: store.Key{Resource: "configmaps", Namespace: "mine", Name: "c"},
			Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "mine", Name: "c"}}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		go next(ctx)
		if r := <-got; !errors.Is(r.err, context.DeadlineExceeded) || r.rev != 4 {
			t.Errorf("a quiet minute: %+v", r)
		}
		go next(t.Context())
		synctest.Wait()
		w.Close()
		if r := <-got; !errors.Is(r.err, store.ErrClosed) {
			t.Errorf("closed: %+v", r)
		}
		waited := make(chan error)
		go func() { waited <- s.WaitRevision(t.Context(), 5) }()
		synctest.Wait()
		create(t, s, "other", "d", "")
		if err := <-waited; err != nil {
			t.Error(err)
		}
	})
}

func TestEncodedSharedWhileInRing(t *testing.T) {
	o := options()
	o.RingSize = 64
	s := open(t, &memory{}, o)
	it := create(t, s, "ns", "a", "")
	made := 0
	encode := func() ([]byte, error) { made++; return []byte("x"), nil }
	json, proto := store.EncodingKey{Form: "json"}, store.EncodingKey{Form: "proto"}
	it.Encoded(json, encode)
	it.Encoded(json, encode)
	it.Encoded(proto, encode)
	if made != 2 {
		t.Errorf("encoded %d times for two forms", made)
	}
	for i := range 64 {
		create(t, s, "ns", fmt.Sprint("b", i), "")
	}
	it.Encoded(json, encode)
	it.Encoded(json, encode)
	if made != 4 {
		t.Errorf("encoded %d times; outside of the ring nothing is kept", made)
	}
}

// TestEncodedOnce: of many who ask at once one makes the form, and all get it.
func TestEncodedOnce(t *testing.T) {
	s := open(t, &memory{}, options())
	it := create(t, s, "ns", "a", "")
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 64 {
		key := store.EncodingKey{Form: "json", Version: fmt.Sprint("v", i%4)}
		wg.Go(func() {
			got, err := it.Encoded(key, func() ([]byte, error) { made.Add(1); return []byte(key.Version), nil })
			if err != nil || string(got) != key.Version {
				t.Errorf("%q, %v for %v", got, err, key)
			}
		})
	}
	wg.Wait()
	if made.Load() != 4 {
		t.Errorf("encoded %d times for four forms", made.Load())
	}
}

func TestSecretsEncryptedAtRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := encrypt.Ensure(file, "", false); err != nil {
		t.Fatal(err)
	}
	sealer, err := encrypt.Open(t.Context(), file, "test")
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Sealer = sealer
	l := &memory{}
	s := open(t, l, o)
	const plain = "hunter2hunter2"
	key := store.Key{Resource: "secrets", Namespace: "ns", Name: "a"}
	mustCommit(t, s, store.Write{Key: key,
		Object: &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}, Data: map[string][]byte{"p": []byte(plain)}}})
	create(t, s, "ns", "visible", "")
	s.Close()
	for key, e := range l.entries {
		if strings.Contains(string(e.Value), plain) {
			t.Errorf("%s is in the log in plain text", key)
		}
		if sealed := strings.HasPrefix(string(e.Value), "k8s:enc:secretbox:v1:key-"); sealed != strings.Contains(key, "/secrets/") {
			t.Errorf("%s: encrypted %v", key, sealed)
		}
	}
	back := open(t, l, o)
	it, ok := back.Get(key)
	if !ok || string(it.Object.(*corev1.Secret).Data["p"]) != plain {
		t.Errorf("after a restart: %+v", it)
	}
	if back.Stale(it) {
		t.Error("encrypted with the newest key and yet stale")
	}
	back.Close()
	if _, err := store.Open(l, options()); err == nil || !strings.Contains(err.Error(), "/registry/secrets/ns/a") {
		t.Errorf("without any configuration: %v", err)
	}
}

// TestStaleAfterRotation follows a value through a change of keys: readable all the time, stale until it is written.
func TestStaleAfterRotation(t *testing.T) {
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	key := store.Key{Resource: "secrets", Namespace: "ns", Name: "a"}
	secret := func() *corev1.Secret {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
	}
	config := func(providers string) {
		text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [" + providers + "]}]\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const one, two = "{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZg==}", "{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMA==}"
	config("{identity: {}}")
	sealer, err := encrypt.Open(t.Context(), file, "test")
	if err != nil {
		t.Fatal(err)
	}
	o := options()
	o.Sealer = sealer
	l := &memory{}
	s := open(t, l, o)
	defer s.Close()
	create(t, s, "ns", "never encrypted", "")
	mustCommit(t, s, store.Write{Key: key, Object: secret()})

	for _, step := range []struct{ providers, prefix string }{
		{"{aescbc: {keys: [" + one + "]}}, {identity: {}}", "k8s:enc:aescbc:v1:one:"},
		{"{aesgcm: {keys: [" + two + "]}}, {aescbc: {keys: [" + one + "]}}", "k8s:enc:aesgcm:v1:two:"},
		{"{identity: {}}, {aesgcm: {keys: [" + two + "]}}", "k8s\x00"},
	} {
		config(step.providers)
		if err := sealer.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		stale, err := s.StaleItems()
		if err != nil || len(stale) != 1 || !s.Stale(stale[0]) {
			t.Fatalf("%s: stale: %v, %v", step.providers, stale, err)
		}
		mustCommit(t, s, store.Write{Key: key, Expect: stale[0].Revision, Object: secret()})
		if value := string(l.entries[key.Path()].Value); !strings.HasPrefix(value, step.prefix) {
			t.Errorf("%s: stored %.30q", step.providers, value)
		}
		if stale, _ := s.StaleItems(); len(stale) != 0 {
			t.Errorf("%s: written and still stale", step.providers)
		}
	}
}

func TestDamagedValueNamesTheKey(t *testing.T) {
	for _, bad := range []string{"", "{", "k8s\x00\xff\xff", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"other"}}`} {
		l := &memory{rev: 5, entries: map[string]log.Entry{
			"/registry/pods/ns/a": {Key: "/registry/pods/ns/a", Value: []byte(bad), Created: 4, Revision: 4}}}
		if _, _, err := open(t, l, options()).Lookup(podKey("ns", "a")); err == nil || !strings.Contains(err.Error(), "/registry/pods/ns/a") {
			t.Errorf("value %q: %v", bad, err)
		}
	}
}

func TestKeysThatDoNotComeBack(t *testing.T) {
	s := open(t, &memory{}, options())
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}}
	mustCommit(t, s, store.Write{Key: store.Key{Resource: "services/specs", Namespace: "ns", Name: "a"}, Object: svc})
	for _, k := range []store.Key{
		{Resource: "pods", Namespace: "ns", Name: "a/b"},
		{Resource: "two/levels", Namespace: "ns", Name: "a"},
		{Resource: "pods", Namespace: "ns"},
	} {
		if _, err := s.Commit(t.Context(), store.Write{Key: k, Object: pod("ns", "a", "")}); err == nil {
			t.Errorf("key %+v was taken", k)
		}
	}
}

func TestRestartOnPebble(t *testing.T) {
	dir := t.TempDir()
	openLog := func() log.Log {
		l, err := pebble.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	s := open(t, openLog(), options())
	for i := range 1000 {
		create(t, s, fmt.Sprint("ns", i%7), fmt.Sprint(i), fmt.Sprint("n", i%3))
	}
	it, _ := s.Get(podKey("ns0", "0"))
	mustCommit(t, s, store.Write{Key: it.Key, Expect: it.Revision})
	want := names(s.Snapshot("pods"), "", store.Key{})
	rev := s.Revision()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, openLog(), options())
	if got := names(s.Snapshot("pods"), "", store.Key{}); got != want || s.Revision() != rev {
		t.Errorf("revision %d, want %d; objects differ: %v", s.Revision(), rev, got != want)
	}
	if n := len(s.Snapshot("pods").ByIndex(api.ByNode, "n1")); n != 333 {
		t.Errorf("%d pods on n1", n)
	}
	if it := create(t, s, "ns", "new", ""); it.Revision != rev+1 {
		t.Errorf("first write after a restart has revision %d, want %d", it.Revision, rev+1)
	}
	it, _ = s.Get(podKey("ns1", "1"))
	if it.Created != 3 || it.Object.(*corev1.Pod).Spec.NodeName != "n1" {
		t.Errorf("loaded: created at %d: %v", it.Created, it.Object)
	}
}

// TestRingsShareMemory: when many resources are busy, together they keep no more than the store may keep,
// and a quiet one keeps its history.
func TestRingsShareMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.CheckMutation = false
		o.RingBytes, o.RingTotal = 1<<20, 2<<20
		s := open(t, &memory{}, o)
		quiet := create(t, s, "ns", "quiet", "")
		write := func(resource, name string) {
			_, err := s.Commit(t.Context(), store.Write{Key: store.Key{Resource: resource, Name: name}, Object: &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"k": strings.Repeat("x", 8<<10)},
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		before := s.Revision()
		for i := range 120 {
			for r := range 8 {
				write(fmt.Sprint("busy", r), fmt.Sprint("a", i))
			}
		}
		time.Sleep(time.Minute)
		write("busy0", "last")
		if _, err := s.Watch("busy1", "", before); !errors.Is(err, store.ErrCompacted) {
			t.Errorf("all of 8 busy resources' history is kept: %v", err)
		}
		if w, err := s.Watch(quiet.Key.Resource, "", quiet.Revision-1); err != nil {
			t.Errorf("a quiet resource lost its history: %v", err)
		} else {
			w.Close()
		}
	})
}
