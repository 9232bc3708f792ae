package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/store"
)

// history is the slow, obvious twin of a store: every state of every key, in revision order.
type history struct {
	mu     sync.Mutex
	states map[int64]change
}

type change struct {
	key  store.Key
	node string
	live bool
}

func (h *history) record(rev int64, c change) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if prev, ok := h.states[rev]; ok {
		panic(fmt.Sprintf("revision %d was given to %+v and to %+v", rev, prev, c))
	}
	h.states[rev] = c
}

// at returns the objects and nodes at a revision.
func (h *history) at(rev int64) map[store.Key]string {
	out := map[store.Key]string{}
	for r := int64(2); r <= rev; r++ {
		c := h.states[r]
		if out[c.key] = c.node; !c.live {
			delete(out, c.key)
		}
	}
	return out
}

// TestModel lets several writers work on few keys, with watchers and readers beside them, and then
// compares all that anyone saw with the history.
func TestModel(t *testing.T) {
	for _, ring := range []int{64, 100000} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("ring=%d/seed=%d", ring, seed), func(t *testing.T) { model(t, ring, seed) })
		}
	}
}

func model(t *testing.T, ring int, seed uint64) {
	o := options()
	o.RingSize = ring
	modelOn(t, open(t, &memory{}, o), seed)
}

// modelOn runs the test on a new store.
func modelOn(t *testing.T, s *store.Store, seed uint64) {
	const writers, ops = 8, 150
	h := &history{states: map[int64]change{}}
	done, stop := context.WithCancel(t.Context())
	defer stop()

	var readers errgroup.Group
	for i := range 4 {
		ns := ""
		if i%2 == 1 {
			ns = "ns1"
		}
		readers.Go(func() error { return follow(done, s, ns, h) })
	}
	seen := make([][]store.Snapshot, 2)
	for i := range seen {
		readers.Go(func() error {
			for done.Err() == nil {
				sn := s.Snapshot("pods")
				if len(seen[i]) == 0 || seen[i][len(seen[i])-1].Revision() < sn.Revision() {
					seen[i] = append(seen[i], sn)
				}
			}
			return nil
		})
	}
	var group errgroup.Group
	for w := range writers {
		rnd := rand.New(rand.NewPCG(seed, uint64(w)))
		group.Go(func() error {
			for range ops {
				if err := step(s, h, rnd); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	last := s.Revision()
	if int64(len(h.states)) != last-1 {
		t.Errorf("%d acknowledged writes, revision %d", len(h.states), last)
	}
	stop()
	if err := readers.Wait(); err != nil {
		t.Error(err)
	}
	all := append(seen[0], seen[1]...)
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, sn := range append(all[:min(len(all), 60)], s.Snapshot("pods")) {
		compare(t, "snapshot", sn, h)
	}
	for rev := last; rev > max(last-50, 1); rev -= 7 {
		sn, err := s.SnapshotAt("pods", rev)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, "reconstructed", sn, h)
	}
}

// step makes one random write.
func step(s *store.Store, h *history, rnd *rand.Rand) error {
	k := podKey(fmt.Sprint("ns", rnd.IntN(3)), fmt.Sprint("p", rnd.IntN(6)))
	it, ok := s.Get(k)
	w, c := store.Write{Key: k}, change{key: k, node: fmt.Sprint("n", rnd.IntN(3)), live: true}
	if ok {
		w.Expect = it.Revision
	}
	if !ok || rnd.IntN(3) > 0 {
		w.Object = pod(k.Namespace, k.Name, c.node)
	} else {
		c.live, c.node = false, ""
	}
	written, err := s.Commit(context.Background(), w)
	var conflict *store.ConflictError
	if errors.As(err, &conflict) {
		if conflict.Current != nil && conflict.Current.Revision == w.Expect {
			return fmt.Errorf("%v refused although it expects the present state", k)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if s.Revision() < written.Revision {
		return fmt.Errorf("%v acknowledged at revision %d before its publication", k, written.Revision)
	}
	h.record(written.Revision, c)
	return nil
}

// follow watches until done, starting anew from a snapshot when overtaken, and checks that events
// come in order, once, and lead to what a snapshot shows.
func follow(done context.Context, s *store.Store, ns string, h *history) error {
	for done.Err() == nil {
		sn := s.Snapshot("pods")
		state := map[store.Key]int64{}
		sn.Ascend(ns, store.Key{}, func(it *store.Item) bool { state[it.Key] = it.Revision; return true })
		w, err := s.Watch("pods", ns, sn.Revision())
		if errors.Is(err, store.ErrCompacted) {
			continue
		}
		if err != nil {
			return err
		}
		at := sn.Revision()
		for {
			events, rev, err := w.Next(done)
			if errors.Is(err, store.ErrCompacted) || errors.Is(err, context.Canceled) {
				break
			}
			if err != nil {
				return err
			}
			for _, e := range events {
				if e.Revision <= at || e.Revision > rev {
					return fmt.Errorf("event %d after %d, progress %d", e.Revision, at, rev)
				}
				at = e.Revision
				if err := apply(state, e); err != nil {
					return err
				}
			}
			if err := sameAs(s, ns, rev, state); err != nil {
				return err
			}
		}
	}
	return nil
}

func apply(state map[store.Key]int64, e *store.Event) error {
	var had int64
	if e.Old != nil {
		had = e.Old.Revision
	}
	it := e.New
	if it == nil {
		it = e.Last
	}
	if state[it.Key] != had || it.Revision != e.Revision {
		return fmt.Errorf("event %d of %v replaces %d, the watcher has %d", e.Revision, it.Key, had, state[it.Key])
	}
	if e.New == nil {
		delete(state, it.Key)
	} else {
		state[it.Key] = it.Revision
	}
	return nil
}

func sameAs(s *store.Store, ns string, rev int64, state map[store.Key]int64) error {
	sn, err := s.SnapshotAt("pods", rev)
	if errors.Is(err, store.ErrCompacted) {
		return nil
	}
	if err != nil {
		return err
	}
	n := 0
	sn.Ascend(ns, store.Key{}, func(it *store.Item) bool {
		n++
		if state[it.Key] != it.Revision {
			err = fmt.Errorf("at %d: %v is of %d, the watcher has %d", rev, it.Key, it.Revision, state[it.Key])
		}
		return true
	})
	if err == nil && n != len(state) {
		err = fmt.Errorf("at %d: %d objects, the watcher has %d", rev, n, len(state))
	}
	return err
}

func compare(t *testing.T, what string, sn store.Snapshot, h *history) {
	t.Helper()
	want := h.at(sn.Revision())
	byNode := map[string][]store.Key{}
	perNS := map[string]int{}
	var order []store.Key
	sn.Ascend("", store.Key{}, func(it *store.Item) bool {
		if node, ok := want[it.Key]; !ok || node != it.Object.(*corev1.Pod).Spec.NodeName {
			t.Errorf("%s at %d has %v, want %v on %q", what, sn.Revision(), it.Key, ok, node)
		}
		order = append(order, it.Key)
		return true
	})
	for k, node := range want {
		byNode[node] = append(byNode[node], k)
		perNS[k.Namespace]++
	}
	if len(order) != len(want) || !slices.IsSortedFunc(order, func(a, b store.Key) int {
		return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
	}) {
		t.Errorf("%s at %d: %d objects %v, want %d", what, sn.Revision(), len(order), order, len(want))
	}
	for _, ns := range []string{"ns0", "ns1", "ns2"} {
		if sn.Len(ns) != perNS[ns] {
			t.Errorf("%s at %d: Len(%s) is %d, want %d", what, sn.Revision(), ns, sn.Len(ns), perNS[ns])
		}
	}
	for _, node := range []string{"n0", "n1", "n2"} {
		got := sn.ByIndex(api.ByNode, node)
		for _, it := range got {
			if want[it.Key] != node {
				t.Errorf("%s at %d: index has %v on %s, want %s", what, sn.Revision(), it.Key, node, want[it.Key])
			}
		}
		if len(got) != len(byNode[node]) {
			t.Errorf("%s at %d: %d pods on %s, want %d", what, sn.Revision(), len(got), node, len(byNode[node]))
		}
	}
}
