package fairness

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/utils/ptr"

	"clipper/apiserver/fairness/fairqueue"
)

// A level is a priority level at work. It lives as long as its name is configured or requests are in it.
type level struct {
	name   string
	exempt bool
	now    func() time.Duration

	// Replaced by reconfigure while requests read them.
	maxSeats atomic.Int64

	// Written under Controller.mu.
	object  *flowcontrolv1.PriorityLevelConfiguration
	gone    bool // no longer configured; drains
	demand  demand
	current int
	last    struct{ average, deviation float64 }

	mu      sync.Mutex // guards what follows
	set     *fairqueue.Set
	backoff backoff
	timer   *time.Timer // for seats that come back by themselves while requests wait
	armed   time.Duration

	dispatched, rejected, cancelled int
}

// aside is the part of a level's seats, in percent, that long lists cannot take from short requests.
const aside = 10

// shapeOf says how requests of a level wait.
func shapeOf(spec *flowcontrolv1.PriorityLevelConfigurationSpec) fairqueue.Shape {
	switch {
	case spec.Type == flowcontrolv1.PriorityLevelEnablementExempt:
		return fairqueue.Unlimited
	case spec.Limited.LimitResponse.Queuing == nil:
		return fairqueue.Shape{}
	}
	q := spec.Limited.LimitResponse.Queuing
	return fairqueue.Shape{Queues: int(q.Queues), HandSize: int(q.HandSize), Length: int(q.QueueLengthLimit), Aside: aside}
}

// check refuses objects that are broken in a way that validation does not let through.
func check(p *flowcontrolv1.PriorityLevelConfiguration) error {
	limited := p.Spec.Type == flowcontrolv1.PriorityLevelEnablementLimited
	exempt := p.Spec.Type == flowcontrolv1.PriorityLevelEnablementExempt
	switch {
	case limited != (p.Spec.Limited != nil), exempt != (p.Spec.Exempt != nil):
		return fmt.Errorf("priority level %s: its type is %q, the rest of its spec is for another", p.Name, p.Spec.Type)
	case exempt != (p.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt):
		return fmt.Errorf("priority level %s: only the one named exempt may be exempt", p.Name)
	case limited && (p.Spec.Limited.LimitResponse.Type == flowcontrolv1.LimitResponseTypeReject) != (p.Spec.Limited.LimitResponse.Queuing == nil):
		return fmt.Errorf("priority level %s: its limit response is %q, its queuing says otherwise", p.Name, p.Spec.Limited.LimitResponse.Type)
	}
	return nil
}

// shares returns what a level is configured to have: its part, how much of it may be lent, and how much it
// may borrow (nil: as much as there is), in percent.
func shares(spec *flowcontrolv1.PriorityLevelConfigurationSpec) (nominal, lendable int32, borrow *int32) {
	if l := spec.Limited; l != nil {
		return ptr.Deref(l.NominalConcurrencyShares, 30), ptr.Deref(l.LendablePercent, 0), l.BorrowingLimitPercent
	}
	return ptr.Deref(spec.Exempt.NominalConcurrencyShares, 0), ptr.Deref(spec.Exempt.LendablePercent, 0), nil
}

// newLevel returns a level without seats.
func newLevel(p *flowcontrolv1.PriorityLevelConfiguration, now func() time.Duration) (*level, error) {
	shape := shapeOf(&p.Spec)
	set, err := fairqueue.New(now(), shape, 0)
	return &level{name: p.Name, exempt: shape == fairqueue.Unlimited, set: set, now: now, object: p, current: -1}, err
}

// entitle works out a level's limits from its part of all seats.
func (l *level) entitle(seats int, sum float64) {
	nominal, lendable, borrow := shares(&l.object.Spec)
	d := &l.demand
	d.exempt = l.exempt
	d.nominal = int(math.Ceil(float64(seats) * float64(nominal) / sum))
	d.lower = d.nominal - int(math.Round(float64(d.nominal)*float64(lendable)/100))
	d.upper = d.nominal + seats
	if borrow != nil {
		d.upper = d.nominal + int(math.Round(float64(d.nominal)*float64(*borrow)/100))
	}
	if q := l.object.Spec.Limited; q != nil && q.LimitResponse.Queuing != nil {
		// No request may take so much of the level that others starve.
		const part = 0.15
		most := min(math.Ceil(float64(d.nominal)*part), float64(d.nominal/int(q.LimitResponse.Queuing.HandSize)))
		l.maxSeats.Store(int64(max(1, most)))
	}
	if l.current < 0 {
		l.current = d.nominal - (d.nominal-d.lower)/2
	}
}

// capSeats is the most seats that a request may take here.
func (l *level) capSeats(limit int) int {
	if m := int(l.maxSeats.Load()); m > 0 {
		return min(m, limit)
	}
	return limit
}

// observe closes a period: how many seats were wanted in it.
func (l *level) observe() {
	const decay = 0.977 // half-life of five minutes at a period of ten seconds
	l.mu.Lock()
	l.set.Advance(l.now())
	integral := l.set.Series.Reset()
	l.settleLocked()
	l.mu.Unlock()
	l.demand.high = int(math.Round(integral.High))
	if integral.Elapsed <= 0 {
		return
	}
	l.last.average, l.last.deviation = integral.Mean()
	envelope := l.last.average + l.last.deviation
	l.demand.smoothed = math.Max(envelope, decay*l.demand.smoothed+(1-decay)*envelope)
}

// apply gives the level its seats for the next period.
func (l *level) apply(seats int) error {
	l.current = seats
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.set.Configure(l.now(), shapeOf(&l.object.Spec), seats)
	l.settleLocked()
	return err
}

func (l *level) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.set.Idle()
}

func (l *level) arrive(t *Ticket, now time.Duration, hash uint64) fairqueue.Outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	outcome := l.set.Arrive(now, &t.item, hash)
	stats := t.flow.flowStats
	switch outcome {
	case fairqueue.Served:
		stats.admit(&t.item)
		l.dispatched++
	case fairqueue.Queued:
		t.wake = make(chan struct{})
		stats.queue(&t.item, 1)
	case fairqueue.Full:
		l.rejected++
		stats.full.Add(1)
	default:
		l.rejected++
		stats.noSeat.Add(1)
	}
	if outcome < fairqueue.Full && t.item.Queue() >= 0 {
		stats.length.get().Observe(float64(t.item.Depth))
	}
	l.settleLocked()
	return outcome
}

func (l *level) finish(t *Ticket, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t.flow.executing.Add(-1)
	t.flow.executingSeats.Add(-int64(t.item.Work.Width()))
	l.set.Finish(now, &t.item)
	l.settleLocked()
}

// abandon takes a waiting ticket out; false: it has been admitted meanwhile.
func (l *level) abandon(t *Ticket, now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ok := l.set.Abandon(now, &t.item)
	if ok {
		t.flow.queue(&t.item, -1)
		t.flow.timedOut.Add(1)
		l.rejected++
		l.cancelled++
	}
	l.settleLocked()
	return ok
}

// settleLocked wakes the tickets that have got their seats, and sees to it that somebody looks again when
// the next seats become free by themselves.
func (l *level) settleLocked() {
	for _, it := range l.set.Started() {
		t := it.Owner.(*Ticket)
		t.flow.queue(it, -1)
		t.flow.admit(it)
		l.dispatched++
		close(t.wake)
	}
	next, ok := l.set.NextRelease()
	if !ok || l.set.Waiting() == 0 || next == l.armed {
		return
	}
	l.armed = next
	if l.timer == nil {
		l.timer = time.AfterFunc(next-l.now(), l.tick)
		return
	}
	l.timer.Reset(next - l.now())
}

func (l *level) tick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set.Advance(l.now())
	l.settleLocked()
}

func (l *level) reject(second int64) (retry int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.backoff.reject(second)
	return l.backoff.seconds()
}
