package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/store"
	"clipper/store/log/etcd/etcdtest"
	"clipper/store/log/pebble"
	"clipper/test/register"
)

// client reads and writes few keys on the store that pick returns, until done says so.
func client(h *register.History, id int, pick func() *store.Store, done func(n int) bool) {
	rnd := rand.New(rand.NewPCG(1, uint64(id)))
	seen := map[string]*store.Item{}
	for n := 0; !done(n); n++ {
		c := register.Call{Key: fmt.Sprint("k", rnd.IntN(3)), Write: rnd.IntN(3) > 0}
		last := seen[c.Key]
		if c.Write {
			c.Expect, c.State = state(last), fmt.Sprintf("s%d-%d", id, n)
			if c.Expect != "" && rnd.IntN(4) == 0 {
				c.State = ""
			}
		}
		from := h.Now()
		it, answer := perform(pick(), c, last)
		h.Record(id, c, from, answer)
		if !answer.Unknown {
			seen[c.Key] = it
		}
	}
}

func state(it *store.Item) string {
	if it == nil {
		return ""
	}
	return it.Object.(*corev1.Pod).Spec.NodeName
}

// patience is how long a client waits for an answer.
const patience = 5 * time.Second

// perform makes one call, a write on the condition that the key is as it was last seen, and returns the state that
// the key is known to have had then.
func perform(s *store.Store, c register.Call, last *store.Item) (*store.Item, register.Answer) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k := podKey("ns", c.Key)
	if !c.Write {
		it, _, err := s.Latest(ctx, k)
		return it, register.Answer{State: state(it), Unknown: err != nil}
	}
	w := store.Write{Key: k}
	if last != nil {
		w.Expect = last.Revision
	}
	if c.State != "" {
		w.Object = pod("ns", c.Key, c.State)
	}
	it, err := s.Commit(ctx, w)
	var conflict *store.ConflictError
	switch {
	case errors.As(err, &conflict):
		return conflict.Current, register.Answer{Refused: true, State: state(conflict.Current)}
	case err != nil:
		return nil, register.Answer{Unknown: true}
	case c.State == "":
		return nil, register.Answer{}
	}
	return it, register.Answer{}
}

// TestLinearizable lets several clients read and write few keys on a real log and looks for an order of
// their calls that explains every answer.
func TestLinearizable(t *testing.T) {
	l, err := pebble.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, l, options())
	h := register.New()
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() {
			client(h, id, func() *store.Store { return s }, func(n int) bool { return n == 150 })
		})
	}
	clients.Wait()
	h.Check(t)
}

// TestLinearizableOnEtcd does the same with three stores on three members of etcd, while members are killed and
// stores close and open again.
func TestLinearizableOnEtcd(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	cluster := etcdtest.Start(t, 3)
	servers := make([]*server, 3)
	for i := range servers {
		servers[i] = newServer(t, cluster.Endpoints())
	}
	h := register.New()
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() {
			client(h, id, servers[id%3].now, func(int) bool {
				pause(ctx, rand.N(20*time.Millisecond)) // what is checked must stay few enough
				return ctx.Err() != nil
			})
		})
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	for round := 0; ctx.Err() == nil; round++ {
		pause(ctx, time.Second)
		victim := rnd.IntN(3)
		if round%2 == 0 {
			cluster.Kill(victim)
			pause(ctx, time.Second)
			cluster.Restart(victim)
		} else {
			servers[victim].restart()
		}
	}
	clients.Wait()
	h.Check(t)
	for _, s := range servers {
		if err := s.now().Fresh(t.Context()); err != nil {
			t.Errorf("after the faults: %v", err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
