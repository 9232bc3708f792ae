package fairqueue

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	fq "k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/eventclock"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing/queueset"
	"k8s.io/apiserver/pkg/util/flowcontrol/metrics"
	"k8s.io/apiserver/pkg/util/flowcontrol/request"
)

// twins feeds the same requests to a Set and to upstream's queue set, and says where they differ.
type twins struct {
	t      *testing.T
	start  time.Time
	ours   *Set
	theirs fq.QueueSet
	items  map[int]*Item
	done   map[int]chan struct{} // of those that upstream has taken in
	runs   map[int]bool          // at upstream
	began  chan int
}

func newTwins(t *testing.T, shape Shape, limit int) *twins {
	w := &twins{t: t, start: time.Now(), items: map[int]*Item{}, done: map[int]chan struct{}{}, runs: map[int]bool{}, began: make(chan int, 1000)}
	var err error
	if w.ours, err = New(0, shape, limit); err != nil {
		t.Fatal(err)
	}
	clock := eventclock.Real{}
	labels := []string{t.Name()}
	completer, err := queueset.NewQueueSetFactory(clock).BeginConstruction(
		fq.QueuingConfig{Name: t.Name(), DesiredNumQueues: shape.Queues, QueueLengthLimit: shape.Length, HandSize: shape.HandSize},
		metrics.RatioedGaugeVecPhasedElementPair(metrics.PriorityLevelConcurrencyGaugeVec, 1, 1, labels),
		metrics.PriorityLevelExecutionSeatsGaugeVec.NewForLabelValuesSafe(0, 1, labels), fq.NewNamedIntegrator(clock, t.Name()))
	if err != nil {
		t.Fatal(err)
	}
	w.theirs = completer.Complete(fq.DispatchingConfig{ConcurrencyLimit: limit, ConcurrencyDenominator: limit})
	return w
}

func (w *twins) now() time.Duration { return time.Since(w.start) }

func (w *twins) arrive(id int, work Work, hash uint64) {
	it := &Item{Work: work}
	outcome := w.ours.Arrive(w.now(), it, hash)
	req, _ := w.theirs.StartRequest(context.Background(), &request.WorkEstimate{
		InitialSeats: uint64(work.Seats), FinalSeats: uint64(work.FinalSeats), AdditionalLatency: work.FinalTime,
	}, hash, "", "schema", nil, nil, nil)
	if (req == nil) != (outcome >= Full) {
		w.t.Fatalf("request %d at %v: outcome %d, upstream rejects: %v", id, w.now(), outcome, req == nil)
	}
	if req == nil {
		return
	}
	w.items[id] = it
	done := make(chan struct{})
	w.done[id] = done
	go req.Finish(func() {
		w.began <- id
		<-done
	})
}

func (w *twins) finish(id int) {
	w.ours.Finish(w.now(), w.items[id])
	close(w.done[id])
	delete(w.items, id)
	delete(w.done, id)
	delete(w.runs, id)
}

// settle lets upstream's goroutines come to rest. Time is only looked at where upstream looks, too: both
// round what they add up.
func (w *twins) settle() {
	synctest.Wait()
	for len(w.began) > 0 {
		w.runs[<-w.began] = true
	}
	for next, ok := w.ours.NextRelease(); ok && next <= w.now(); next, ok = w.ours.NextRelease() {
		w.ours.Advance(next)
	}
}

// compare looks at who runs.
func (w *twins) compare(step int) {
	w.settle()
	for id, it := range w.items {
		if (it.State() == Executing) != w.runs[id] {
			w.t.Errorf("step %d at %v: request %d: state %d, upstream runs it: %v", step, w.now(), id, it.State(), w.runs[id])
		}
	}
}

func (w *twins) running() []int { return slices.Sorted(maps.Keys(w.runs)) }

// TestAsUpstream: at every moment exactly those requests run that run at upstream.
func TestAsUpstream(t *testing.T) {
	for _, c := range []struct {
		shape Shape
		limit int
	}{
		{Shape{Queues: 8, HandSize: 3, Length: 4}, 5},
		{Shape{Queues: 64, HandSize: 6, Length: 50}, 20},
		{Shape{Queues: 1, HandSize: 1, Length: 10}, 3},
		{Shape{Queues: 16, HandSize: 4, Length: 2}, 1},
		{Shape{}, 4},
	} {
		for seed := range uint64(20) {
			t.Run(fmt.Sprintf("%+v limit=%d seed=%d", c.shape, c.limit, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { history(t, newTwins(t, c.shape, c.limit), rand.New(rand.NewPCG(seed, 1))) })
			})
		}
	}
}

func history(t *testing.T, w *twins, random *rand.Rand) {
	for step := range 400 {
		running := w.running()
		switch {
		case random.IntN(3) == 0:
			time.Sleep(time.Duration(random.IntN(8)) * time.Millisecond)
		case random.IntN(2) == 0 && len(running) > 0:
			w.finish(running[random.IntN(len(running))])
		default:
			flow := uint64(min(random.IntN(4), random.IntN(4))) * 0x9e3779b97f4a7c15 >> 8 // the first is the busiest
			w.arrive(step, randomWork(random), flow)
		}
		w.compare(step)
		if t.Failed() {
			break
		}
	}
	for len(w.done) > 0 {
		for _, id := range w.running() {
			if w.items[id].State() != Executing { // a failure: let upstream end
				w.items[id].state = Idle
				close(w.done[id])
				delete(w.done, id)
				delete(w.runs, id)
				continue
			}
			w.finish(id)
			w.settle() // several at once would finish in any order
		}
		time.Sleep(time.Second)
		w.settle()
	}
	time.Sleep(time.Second)
	w.settle()
	if p := w.ours.Picture(); !t.Failed() && (p.SeatsInUse != 0 || p.SeatsWaiting != 0 || p.Waiting != 0 || w.ours.active != 0) {
		t.Errorf("after everything: %+v, %d queues active", p, w.ours.active)
	}
}

func randomWork(random *rand.Rand) Work {
	work := Work{Seats: 1 + random.IntN(3)*random.IntN(3)}
	if random.IntN(4) == 0 {
		work.FinalSeats, work.FinalTime = 1+random.IntN(4), time.Duration(1+random.IntN(20))*time.Millisecond
	}
	return work
}
