// Package register checks what clients of a store or of a server were told: is there an order of their calls that
// explains every answer? Each key is a register that is read, and written on the condition that it holds the state
// it was last seen in.
package register

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// A Call is a read, or a write on the condition that the key holds the state it was last seen in. States have names
// of their own, which no two writes share; "" means absent.
type Call struct {
	Key    string
	Write  bool
	Expect string
	State  string // to be written; "" to delete
}

// An Answer is what came of a call.
type Answer struct {
	State   string // that was read, or that refused a write
	Refused bool   // the condition did not hold
	Blind   bool   // a refusal that does not tell the state
	Unknown bool   // the write may have happened, or happen yet
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(Call).Key
			byKey[k] = append(byKey[k], op)
		}
		return slices.Collect(maps.Values(byKey))
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		ok, next := step(state.(string), in.(Call), out.(Answer))
		return ok, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// step says whether a register that holds have can give the answer, and what it holds then.
func step(have string, c Call, a Answer) (bool, string) {
	switch {
	case !c.Write:
		return a.State == have, have
	case a.Unknown && have != c.Expect:
		return true, have // if it happens after everything else, it does not happen
	case a.Refused:
		return (have != c.Expect || have == "" && c.State == "") && (a.Blind || a.State == have), have
	case have != c.Expect:
		return false, have
	}
	return true, c.State
}

// A History is what all clients did. Its methods may be called from any goroutine.
type History struct {
	start time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
}

// New returns a history that begins now.
func New() *History { return &History{start: time.Now()} }

// Now is a point in time for Record.
func (h *History) Now() time.Duration { return time.Since(h.start) }

// Record adds a client's call that was made at the time from, and has just been answered.
func (h *History) Record(client int, c Call, from time.Duration, a Answer) {
	op := porcupine.Operation{ClientId: client, Input: c, Output: a, Call: from.Nanoseconds(), Return: h.Now().Nanoseconds()}
	if a.Unknown {
		if !c.Write {
			return // a read that failed says nothing
		}
		op.Return = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// Check looks for an order that explains all answers.
func (h *History) Check(t *testing.T) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	unknown := 0
	for _, op := range h.ops {
		if op.Output.(Answer).Unknown {
			unknown++
		}
	}
	t.Logf("%d operations, of %d the outcome is not known", len(h.ops), unknown)
	if result, _ := porcupine.CheckOperationsVerbose(model, h.ops, time.Minute); result != porcupine.Ok {
		t.Errorf("no order explains %d operations: %v", len(h.ops), result)
	}
}
