// Package fairqueue decides which waiting request is served next, so that flows share a limited number of
// seats fairly. A request occupies one or more seats; those that find none wait in one of several queues,
// picked by shuffle sharding, so that a flow that floods meets itself rather than others. Among the queues
// the one goes next whose first request would finish first if all queues were served at the same time, seat
// by seat: fair queuing, as networks know it, with estimated work in place of packet lengths.
//
// A Set is a plain value: it has no clock, lock or goroutine. Its callers say what time it is, keep others
// out, and wake what Started returns. Times are durations since any fixed moment and do not go backwards.
// Limits, estimates and order are those of a v1.36 server; see KEP-1040.
package fairqueue

import (
	"fmt"
	"math"
	"time"

	"k8s.io/apiserver/pkg/util/shufflesharding"
)

// estimate is the service time that a request is charged for before its real one is known. Upstream's figure.
const estimate = 3 * time.Millisecond

// Progress counts seats times time, in units of ten seat-nanoseconds. The meter wraps around: two readings
// are compared by their difference.
type Progress int64

const (
	unit      = 10 * time.Nanosecond
	perSecond = Progress(time.Second / unit)
)

func progress(seats float64, d time.Duration) Progress {
	return Progress(math.Round(seats * float64(d) / float64(unit)))
}

// String shows p in seat-seconds.
func (p Progress) String() string {
	sign := ""
	if p < 0 {
		sign, p = "-", -p
	}
	return fmt.Sprintf("%s%d.%08dss", sign, int64(p/perSecond), int64(p%perSecond))
}

// Seconds is p as a number of seat-seconds.
func (p Progress) Seconds() float64 { return float64(p) / float64(perSecond) }

// Work is what a request is expected to cost.
type Work struct {
	Seats      int           // while it is served
	FinalSeats int           // occupied afterwards, for FinalTime: what the request sets off for others
	FinalTime  time.Duration // the client does not wait for it
}

// Width is the number of seats that are held for the request.
func (w Work) Width() int { return max(w.Seats, w.FinalSeats) }

func (w Work) total() Progress {
	return progress(float64(w.Seats), estimate) + progress(float64(w.FinalSeats), w.FinalTime)
}

// A State says how far an Item has come.
type State uint8

// The states of an Item.
const (
	Idle State = iota // not in a set, or no longer
	Waiting
	Executing
)

// An Item is one request in a Set. It belongs to the set from Arrive until it is idle again.
type Item struct {
	Work    Work
	Owner   any           // the caller's; not looked at
	Arrived time.Duration // when Arrive was called
	Started time.Duration // when it got its seats
	Depth   int           // requests in its queue when it had joined it

	state      State
	aside      bool // it was let past a wide request
	queue      *queue
	arrivedAt  Progress
	total      Progress // its work
	prev, next *Item
}

// State says how far it has come.
func (it *Item) State() State { return it.state }

// An Outcome is what becomes of an arriving request.
type Outcome uint8

// The outcomes of Arrive.
const (
	Served    Outcome = iota // it has its seats
	Queued                   // it waits
	Full                     // rejected: its queue is full
	NoSeat                   // rejected: there are no queues and all seats are taken
	unlimited = -1           // Shape.Queues of a level without limit
)

// A Shape says how requests wait.
type Shape struct {
	Queues   int // 0: they do not wait but are rejected; Unlimited: everything is served at once
	HandSize int // queues that one flow may use
	Length   int // requests per queue
	// Aside is how many of a hundred seats are out of reach of requests that need several. Upstream has
	// none: there, whoever asks for one seat waits behind a wide request for which there is no room yet.
	Aside int
}

// Unlimited is the shape of a set that serves everything at once and only counts.
var Unlimited = Shape{Queues: unlimited}

// A Set is the queues of one priority level.
type Set struct {
	Series Series // what has been over time

	shape Shape
	limit int

	queues    []*queue // longer than shape says while surplus ones drain
	active    int      // queues with requests
	robin     int      // index of the queue served last
	dealt     int
	meter     Progress
	at        time.Duration
	executing list
	lingering lingerers
	started   []*Item

	waiting      int
	asides       int // requests that were let past a wide one, and are executing
	seatsInUse   int // lingering ones included
	seatsWaiting int
}

// New returns an empty set at the time now.
func New(now time.Duration, shape Shape, limit int) (*Set, error) {
	s := &Set{at: now}
	return s, s.Configure(now, shape, limit)
}

// Configure changes the shape and the limit. Requests that wait go on waiting where they are.
func (s *Set) Configure(now time.Duration, shape Shape, limit int) error {
	if shape != s.shape {
		if err := s.reshape(shape); err != nil {
			return err
		}
	}
	s.advance(now)
	s.limit = limit
	s.Series.limits(max(1, s.shape.Length*max(1, s.shape.Queues)), limit)
	s.Series.note(s)
	s.dispatch()
	return nil
}

func (s *Set) reshape(shape Shape) error {
	if shape.Queues > 0 {
		if _, err := shufflesharding.NewDealer(shape.Queues, shape.HandSize); err != nil {
			return fmt.Errorf("deal %d of %d queues: %w", shape.HandSize, shape.Queues, err)
		}
	}
	s.shape = shape
	for len(s.queues) < shape.Queues {
		s.queues = append(s.queues, &queue{index: len(s.queues)})
	}
	for i := len(s.queues) - 1; i >= max(0, shape.Queues); i-- {
		s.prune(s.queues[i])
	}
	return nil
}

// Arrive takes in a request. hash stands for its flow.
func (s *Set) Arrive(now time.Duration, it *Item, hash uint64) Outcome {
	s.advance(now)
	it.Arrived, it.arrivedAt, it.total, it.queue = now, s.meter, it.Work.total(), nil
	if s.shape.Queues <= 0 {
		if !s.fits(it.Work.Width()) {
			return NoSeat
		}
		s.start(it)
		return Served
	}
	q := s.pick(hash)
	if s.seatsInUse >= s.limit && q.waiting >= s.shape.Length {
		return Full
	}
	if s.waiting == 0 && s.seatsInUse < s.limit && s.fits(it.Work.Width()) {
		s.serve(q, it)
		return Served
	}
	s.enqueue(q, it)
	s.dispatch()
	if it.state == Executing {
		s.started = s.started[:len(s.started)-1] // its caller learns it from the outcome
		return Served
	}
	return Queued
}

// Finish gives back the seats of an executing request, once its final work is over.
func (s *Set) Finish(now time.Duration, it *Item) {
	s.advance(now)
	s.executing.remove(it)
	it.state = Idle
	if it.aside {
		it.aside = false
		s.asides--
	}
	if q := it.queue; q != nil {
		// It was charged for the estimate; now it is known what it took.
		q.next -= progress(float64(it.Work.Seats), estimate-(s.at-it.Started))
		q.executing--
		s.left(q)
		q.bound()
	}
	if it.Work.FinalTime > 0 {
		s.lingering.push(linger{until: s.at + it.Work.FinalTime, seats: it.Work.Width(), queue: it.queue})
	} else {
		s.release(it.Work.Width(), it.queue)
	}
	s.Series.note(s)
	s.dispatch()
}

// Abandon takes out a request that does not want to wait any longer. False: it is not waiting any more.
func (s *Set) Abandon(now time.Duration, it *Item) bool {
	s.advance(now)
	if it.state != Waiting {
		return false
	}
	q := it.queue
	s.dequeue(it)
	it.state = Idle
	q.bound()
	s.left(q)
	s.prune(q)
	s.Series.note(s)
	s.dispatch()
	return true
}

// Started returns the requests that got their seats after having waited, since the last call. The slice is
// good until the next call of any method.
func (s *Set) Started() []*Item {
	out := s.started
	s.started = s.started[:0]
	return out
}

// NextRelease is when seats will be given back by themselves. Somebody must call Advance then if requests
// wait.
func (s *Set) NextRelease() (time.Duration, bool) {
	if len(s.lingering) == 0 {
		return 0, false
	}
	return s.lingering[0].until, true
}

// Advance brings the set to the time now.
func (s *Set) Advance(now time.Duration) { s.advance(now) }

// Idle says that there is no request, waiting or served.
func (s *Set) Idle() bool { return s.waiting == 0 && s.executing.len == 0 }

// Waiting is the number of requests that wait.
func (s *Set) Waiting() int { return s.waiting }

// advance lets time pass, with everything that happens by itself on the way.
func (s *Set) advance(now time.Duration) {
	for len(s.lingering) > 0 && s.lingering[0].until <= now {
		l := s.lingering.pop()
		s.pass(l.until)
		s.release(l.seats, l.queue)
		s.Series.note(s)
		s.dispatch()
	}
	s.pass(now)
}

func (s *Set) pass(now time.Duration) {
	d := now - s.at
	if d <= 0 {
		return
	}
	s.Series.pass(d)
	if s.active > 0 {
		// All active queues are served at the same time: each gets its part of the seats.
		s.meter += progress(float64(min(s.seatsInUse+s.seatsWaiting, s.limit))/float64(s.active), d)
	}
	s.at = now
}

// fits says whether a request of that width can start. One that is wider than the limit starts alone.
func (s *Set) fits(width int) bool {
	switch {
	case s.shape.Queues < 0:
		return true
	case width > s.limit:
		return s.executing.len == 0
	case width > 1:
		return s.seatsInUse+width <= max(width, s.limit-s.aside())
	}
	return s.seatsInUse+width <= s.limit
}

// aside is how many seats are out of reach of wide requests.
func (s *Set) aside() int { return s.limit * s.shape.Aside / 100 }

// pick deals the flow its hand and returns the queue of it with the least work. Where the search begins
// moves on, so that overlapping hands do not favour a queue.
func (s *Set) pick(hash uint64) *queue {
	var room [maxHand]int
	hand := deal(hash, s.shape.Queues, room[:s.shape.HandSize])
	at := s.dealt % len(hand)
	s.dealt++
	best := s.queues[hand[at]]
	for range len(hand) - 1 {
		if at++; at == len(hand) {
			at = 0
		}
		if q := s.queues[hand[at]]; q.work < best.work {
			best = q
		}
	}
	return best
}

// maxHand is the most cards that the bits of a hash suffice to deal.
const maxHand = shufflesharding.MaxHashBits / 2

// deal fills hand with different cards of a deck: the hash is a number in the mixed base of the choices that
// are left for each card. The deck is never laid out.
func deal(hash uint64, deck int, hand []int) []int {
	for i := range hand {
		left := uint64(deck - i)
		hand[i] = int(hash % left)
		hash /= left
	}
	for i := len(hand) - 1; i > 0; i-- { // from an index among the cards that are left to one in the deck
		for j := i - 1; j >= 0; j-- {
			if hand[i] >= hand[j] {
				hand[i]++
			}
		}
	}
	return hand
}

// serve is enqueue and dispatch for a request that meets no other: what nearly always happens.
func (s *Set) serve(q *queue, it *Item) {
	s.activate(q)
	if q.next-it.arrivedAt < 0 {
		q.next = it.arrivedAt
	}
	it.Depth, it.queue = 1, q
	s.robin = q.index
	s.occupy(q, it)
}

func (s *Set) activate(q *queue) {
	if q.load() == 0 {
		q.next = s.meter
		s.active++
	}
}

func (s *Set) enqueue(q *queue, it *Item) {
	s.activate(q)
	it.state, it.queue = Waiting, q
	q.push(it)
	it.Depth = q.waiting
	s.waiting++
	s.seatsWaiting += it.Work.Width()
	q.bound()
	s.Series.note(s)
}

func (s *Set) dequeue(it *Item) {
	it.queue.remove(it)
	s.waiting--
	s.seatsWaiting -= it.Work.Width()
}

// left keeps count of active queues after a request has left q.
func (s *Set) left(q *queue) {
	if q.load() == 0 {
		s.active--
	}
}

// dispatch starts as many waiting requests as there are seats for.
func (s *Set) dispatch() {
	for s.waiting > 0 && s.seatsInUse < s.limit {
		q := s.first(func(*queue) bool { return true })
		it := q.head
		if !s.fits(it.Work.Width()) {
			// It goes next; others wait until there is room for it. Requests that are no hindrance may pass.
			if q = s.passing(); q == nil {
				return
			}
			it = q.head
			it.aside = true
			s.asides++
		}
		s.robin = q.index
		s.dequeue(it)
		s.occupy(q, it)
		q.bound()
		s.started = append(s.started, it)
	}
}

// occupy starts a request of q.
func (s *Set) occupy(q *queue, it *Item) {
	s.narrow(it)
	s.start(it)
	q.executing++
	q.next += it.total
}

// narrow reshapes final work that is wider than the limit into a longer piece.
func (s *Set) narrow(it *Item) {
	if w := &it.Work; w.FinalSeats > s.limit {
		w.FinalTime = w.FinalTime * time.Duration(w.FinalSeats) / time.Duration(s.limit)
		w.FinalSeats = s.limit
	}
}

func (s *Set) start(it *Item) {
	it.state, it.Started = Executing, s.at
	s.executing.push(it)
	s.seatsInUse += it.Work.Width()
	if it.queue != nil {
		it.queue.seats += it.Work.Width()
	}
	s.Series.note(s)
}

// passing is the queue whose request may pass a wide one: it needs one seat, nothing of its queue is being
// served, and few others have passed. So the wide one goes as soon as what was there before is done.
func (s *Set) passing() *queue {
	if s.asides >= s.aside() || !s.fits(1) {
		return nil
	}
	return s.first(func(q *queue) bool { return q.executing == 0 && q.head.Work.Width() == 1 })
}

// first is the queue, of those that may, whose oldest request would finish first; among equals the one that
// has not had its turn for longest.
func (s *Set) first(may func(*queue) bool) *queue {
	var best *queue
	var finish Progress
	for i := range s.queues {
		q := s.queues[(s.robin+1+i)%len(s.queues)]
		if q.head == nil || !may(q) {
			continue
		}
		if f := q.next + q.head.total; best == nil || f-finish < 0 {
			best, finish = q, f
		}
	}
	return best
}

func (s *Set) release(seats int, q *queue) {
	s.seatsInUse -= seats
	if q != nil {
		q.seats -= seats
		s.prune(q)
	}
}

// prune takes away a queue that is empty and that the shape no longer has.
func (s *Set) prune(q *queue) {
	if len(s.queues) <= max(0, s.shape.Queues) || q.index < s.shape.Queues || q.load() > 0 || q.seats > 0 {
		return
	}
	s.queues = append(s.queues[:q.index], s.queues[q.index+1:]...)
	for i := q.index; i < len(s.queues); i++ {
		s.queues[i].index = i
	}
	if s.robin >= q.index {
		s.robin = max(0, s.robin-1)
	}
}

// Meter is how far the set's virtual service is.
func (s *Set) Meter() Progress { return s.meter }
