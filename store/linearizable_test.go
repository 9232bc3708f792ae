package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"clipper/store"
	"clipper/store/log/pebble"
)

// input is one call: a read, or a write that expects a revision.
type input struct {
	key    string
	write  bool
	delete bool
	expect int64
}

// output is what came of it: the revision that was read or written, 0 for absent. A
// refused write tells what it met instead.
type output struct {
	revision int64
	conflict bool
}

// register says what each key may do: a compare-and-set register of revisions.
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
	Init: func() any { return int64(0) },
	Step: func(state, in, out any) (bool, any) {
		have, i, o := state.(int64), in.(input), out.(output)
		switch {
		case !i.write:
			return o.revision == have, have
		case o.conflict:
			return have != i.expect && o.revision == have || i.delete && have == 0, have
		case have != i.expect:
			return false, have
		case i.delete:
			return have != 0, int64(0)
		}
		return o.revision > have, o.revision
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// TestLinearizable lets several clients read and write few keys on a real log and looks for an order of
// their calls that explains every answer.
func TestLinearizable(t *testing.T) {
	l, err := pebble.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, l, options())
	start := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	var clients sync.WaitGroup
	for id := range 6 {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(id)))
			for range 150 {
				in := input{key: fmt.Sprint("k", rnd.IntN(3)), write: rnd.IntN(3) > 0}
				if it, ok := s.Get(podKey("ns", in.key)); ok && in.write {
					in.expect, in.delete = it.Revision, rnd.IntN(4) == 0
				}
				call := time.Since(start)
				out := perform(s, in)
				op := porcupine.Operation{ClientId: id, Input: in, Output: out, Call: call.Nanoseconds(), Return: time.Since(start).Nanoseconds()}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
			}
		})
	}
	clients.Wait()
	if result, _ := porcupine.CheckOperationsVerbose(register, history, time.Minute); result != porcupine.Ok {
		t.Errorf("no order explains %d operations: %v", len(history), result)
	}
}

func perform(s *store.Store, in input) output {
	k := podKey("ns", in.key)
	if !in.write {
		it, ok := s.Get(k)
		if !ok {
			return output{}
		}
		return output{revision: it.Revision}
	}
	w := store.Write{Key: k, Expect: in.expect}
	if !in.delete {
		w.Object = pod("ns", in.key, "")
	}
	it, err := s.Commit(context.Background(), w)
	var conflict *store.ConflictError
	switch {
	case errors.As(err, &conflict) && conflict.Current == nil:
		return output{conflict: true}
	case errors.As(err, &conflict):
		return output{conflict: true, revision: conflict.Current.Revision}
	case err != nil:
		panic(err)
	}
	return output{revision: it.Revision}
}
