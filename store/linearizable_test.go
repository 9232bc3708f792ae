package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	corev1 "k8s.io/api/core/v1"

	"clipper/store"
	"clipper/store/log/etcd/etcdtest"
	"clipper/store/log/pebble"
)

// input is one call: a read, or a write on the condition that the key holds the state it was last seen in.
// States have names of their own, which no two writes share; "" means absent.
type input struct {
	key      string
	write    bool
	expect   string
	revision int64  // of expect
	state    string // to be written; "" to delete
}

// output is what came of it: the state that was read, or that refused a write.
type output struct {
	state    string
	conflict bool
	unknown  bool // the write may have happened, or happen yet
}

// register says what each key may do: a compare-and-set register of states.
var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(input).key
			byKey[k] = append(byKey[k], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		have, i, o := state.(string), in.(input), out.(output)
		switch {
		case !i.write:
			return o.state == have, have
		case o.unknown && have != i.expect:
			return true, have // if it happens after everything else, it does not happen
		case o.conflict:
			return (have != i.expect || have == "" && i.state == "") && o.state == have, have
		case have != i.expect:
			return false, have
		}
		return true, i.state
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// A recorder keeps what clients did, in the form that porcupine checks.
type recorder struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

func (r *recorder) do(client int, in input, call func(input) output) {
	from := time.Since(r.start)
	out := call(in)
	op := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: from.Nanoseconds(), Return: time.Since(r.start).Nanoseconds()}
	if out.unknown {
		if !in.write {
			return // a read that failed says nothing
		}
		op.Return = math.MaxInt64
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, op)
}

func (r *recorder) check(t *testing.T) {
	t.Helper()
	unknown := 0
	for _, op := range r.ops {
		if op.Output.(output).unknown {
			unknown++
		}
	}
	t.Logf("%d operations, of %d the outcome is not known", len(r.ops), unknown)
	if result, _ := porcupine.CheckOperationsVerbose(register, r.ops, time.Minute); result != porcupine.Ok {
		t.Errorf("no order explains %d operations: %v", len(r.ops), result)
	}
}

// client reads and writes few keys on the store that pick returns, until done says so.
func (r *recorder) client(id int, pick func() *store.Store, done func(n int) bool) {
	rnd := rand.New(rand.NewPCG(1, uint64(id)))
	seen := map[string]*store.Item{}
	for n := 0; !done(n); n++ {
		in := input{key: fmt.Sprint("k", rnd.IntN(3)), write: rnd.IntN(3) > 0}
		if last := seen[in.key]; in.write {
			in.expect, in.state = state(last), fmt.Sprintf("s%d-%d", id, n)
			if last != nil {
				in.revision = last.Revision
			}
			if in.expect != "" && rnd.IntN(4) == 0 {
				in.state = ""
			}
		}
		r.do(id, in, func(in input) output {
			it, out := perform(pick(), in)
			if !out.unknown {
				seen[in.key] = it
			}
			return out
		})
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

// perform makes one call and returns the state that the key is known to have had then.
func perform(s *store.Store, in input) (*store.Item, output) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k := podKey("ns", in.key)
	if !in.write {
		it, _, err := s.Latest(ctx, k)
		return it, output{state: state(it), unknown: err != nil}
	}
	w := store.Write{Key: k, Expect: in.revision}
	if in.state != "" {
		w.Object = pod("ns", in.key, in.state)
	}
	it, err := s.Commit(ctx, w)
	var conflict *store.ConflictError
	switch {
	case errors.As(err, &conflict):
		return conflict.Current, output{conflict: true, state: state(conflict.Current)}
	case err != nil:
		return nil, output{unknown: true}
	case in.state == "":
		return nil, output{}
	}
	return it, output{}
}

// TestLinearizable lets several clients read and write few keys on a real log and looks for an order of
// their calls that explains every answer.
func TestLinearizable(t *testing.T) {
	l, err := pebble.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, l, options())
	r := &recorder{start: time.Now()}
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() {
			r.client(id, func() *store.Store { return s }, func(n int) bool { return n == 150 })
		})
	}
	clients.Wait()
	r.check(t)
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
	r := &recorder{start: time.Now()}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	defer stop()
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() {
			r.client(id, servers[id%3].now, func(int) bool {
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
	r.check(t)
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
