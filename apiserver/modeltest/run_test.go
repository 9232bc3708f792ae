package modeltest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	modelSeed  = flag.Uint64("seed", 0, "of TestModel; 0: a few fixed ones and a new one")
	modelSeeds = flag.Int("seeds", 0, "how many new seeds TestModel tries, one after the other")
	modelSteps = flag.Int("steps", 400, "operations of each run of TestModel")
	kubeconfig = flag.String("kubeconfig", "", "of a server that TestModel is to drive, which must grant everything; none: one of its own")
)

// TestModel compares a server with the model. The seed replays what fails.
func TestModel(t *testing.T) {
	now := uint64(time.Now().UnixNano())
	seeds := []uint64{1, 2, now}
	switch {
	case *modelSeed != 0:
		seeds = []uint64{*modelSeed}
	case *modelSeeds > 0:
		seeds = nil
		for i := range uint64(*modelSeeds) {
			seeds = append(seeds, now+i)
		}
	}
	for _, seed := range seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			if *kubeconfig == "" && *modelSeeds == 0 {
				t.Parallel()
			}
			ops := randomOps(seed, *modelSteps)
			err := runModel(t, ops)
			if err == nil {
				return
			}
			t.Log(err)
			ops, err = shrink(t, ops, err)
			var story strings.Builder
			for _, o := range ops {
				k, through := pick(o)
				fmt.Fprintln(&story, o.what, k, through.version, o.dice)
			}
			t.Fatalf("seed %d (run with -seed): after\n%s%v", seed, &story, err)
		})
	}
}

// An op is one operation. Its dice are thrown beforehand, so that it means the same, as far as possible, when
// operations before it are left out.
type op struct {
	what string
	dice [dice]uint32
}

func randomOps(seed uint64, n int) []op {
	r := rand.New(rand.NewPCG(seed, seed))
	bag := make([]string, 0, 200)
	for name, o := range operations {
		bag = append(bag, slices.Repeat([]string{name}, o.weight)...)
	}
	slices.Sort(bag)
	ops := make([]op, n)
	for i := range ops {
		ops[i].what = bag[r.IntN(len(bag))]
		for d := range ops[i].dice {
			ops[i].dice[d] = r.Uint32()
		}
	}
	return ops
}

// shrink leaves out operations, in ever smaller pieces, as long as what remains still fails and there is time.
func shrink(t *testing.T, ops []op, err error) ([]op, error) {
	tries, end := 60, time.Now().Add(time.Minute)
	for size := len(ops) / 2; size > 0 && tries > 0; size /= 2 {
		for from := 0; from+size <= len(ops) && tries > 0 && time.Now().Before(end); tries-- {
			fewer := slices.Concat(ops[:from], ops[from+size:])
			if still := runModel(t, fewer); still != nil {
				ops, err = fewer, still
			} else {
				from += size
			}
		}
	}
	return ops, err
}

// A driver sends operations to a server and tells the model of them.
type driver struct {
	*model
	*server
	pagers  []pager
	watches []*modelWatch
	points  []point
	gone    []point // that the server cannot know any more
	ends    context.Context
}

// A point is a revision with the length of the history that it stands for.
type point struct {
	revision string
	length   int
}

// runModel runs ops against a server and returns the first difference.
func runModel(t *testing.T, ops []op) error {
	s, err := startServer(t, *kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	ends, cancel := context.WithCancel(context.Background())
	d := &driver{model: newModel(), server: s, ends: ends}
	defer func() {
		cancel()
		for _, w := range d.watches {
			w.reading.Wait()
		}
		d.client.CloseIdleConnections()
		if err := d.stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := s.prepare(); err != nil {
		return err
	}
	for i, o := range ops {
		d.operation = i
		if err := operations[o.what].do(d, o); err != nil {
			return fmt.Errorf("operation %d, %s: %w", i, o.what, err)
		}
	}
	return d.checkWatches()
}
