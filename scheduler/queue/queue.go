// Package queue holds the pods that wait for a node, in the order in which to try them. It has no clock and
// no lock of its own: the caller passes the time and owns the queue.
//
// A pod is in one of four places. Active: to be tried, by priority and then by age. Backing off: to be tried
// when its time has come, or earlier if nothing else is to be done. Parked: it fitted nowhere, and is not
// looked at until something happens that its rejections named. Gated: not to be tried until its owner
// removes its scheduling gates.
package queue

import (
	"container/heap"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"clipper/scheduler/cluster"
)

// Back-off after an attempt that failed, doubled by each further one. Upstream's figures.
const (
	firstBackoff = time.Second
	maxBackoff   = 10 * time.Second
)

// longestPark is the rescue for a wake-up that was missed.
const longestPark = 5 * time.Minute

// An Item is a waiting pod.
type Item struct {
	Pod      *cluster.Pod
	Attempts int
	Added    time.Time
	First    time.Time      // when it was first tried; zero before
	Wake     cluster.Change // what un-parks it
	Rejected []string       // by what it was rejected, when it was last tried: upstream's names of plug-ins

	order uint64 // of arrival, for those of the same instant
	tried time.Time
	ready time.Time // end of its back-off
	after error     // set if it backs off because of an error, not for lack of a node
	where place
	index int // in its heap
}

type place int

const (
	nowhere place = iota
	active
	backingOff
	parked
	gated
)

// A Queue is the waiting pods. Use New.
type Queue struct {
	items   map[types.UID]*Item
	active  itemHeap
	backoff itemHeap
	parked  map[types.UID]*Item
	arrived uint64

	// Entered, if set, is told of every pod that comes to a place, and why: both in the words of upstream's metrics.
	Entered func(place, event string)
}

// Why pods change places. Upstream's words.
const (
	podAdded      = "UnschedulablePodAdd"
	podUpdated    = "UnschedulablePodUpdate"
	gatesGone     = "UnschedulablePodUpdatePodSchedulingGatesEliminated"
	attemptFailed = "ScheduleAttemptFailure"
	backoffOver   = "BackoffComplete"
	parkedTooLong = "UnschedulableTimeout"
)

// New returns an empty queue.
func New() *Queue {
	return &Queue{
		items: map[types.UID]*Item{}, parked: map[types.UID]*Item{},
		active: itemHeap{less: moreUrgent}, backoff: itemHeap{less: readySooner},
	}
}

func readySooner(a, b *Item) bool {
	if !a.ready.Equal(b.ready) {
		return a.ready.Before(b.ready)
	}
	return moreUrgent(a, b)
}

func moreUrgent(a, b *Item) bool {
	if pa, pb := a.Pod.Priority(), b.Pod.Priority(); pa != pb {
		return pa > pb
	}
	if !a.Added.Equal(b.Added) {
		return a.Added.Before(b.Added)
	}
	return a.order < b.order
}

// Len returns how many pods wait, and how many of them are about to be tried.
func (q *Queue) Len() (all, soon int) {
	return len(q.items), len(q.active.items) + len(q.backoff.items)
}

// Add puts a pod into the queue, or replaces what is known of one that is in it. A change of the pod itself
// un-parks it: it may ask for less now. waits is true if the pod has scheduling gates.
func (q *Queue) Add(p *cluster.Pod, waits bool, now time.Time) {
	it := q.items[p.UID]
	if it == nil {
		q.arrived++
		it = &Item{Pod: p, Added: now, order: q.arrived}
		q.items[p.UID] = it
		q.enter(it, gatedOr(waits, active), podAdded)
		return
	}
	relevant := changed(it.Pod, p)
	it.Pod = p
	switch {
	case waits:
		if it.where != gated {
			q.enter(it, gated, podUpdated)
		}
	case it.where == gated:
		q.enter(it, active, gatesGone)
	case it.where == parked && relevant:
		q.unpark(it, podUpdated, now)
	case it.where == active:
		heap.Fix(&q.active, it.index) // its priority may have changed
	}
}

func gatedOr(waits bool, otherwise place) place {
	if waits {
		return gated
	}
	return otherwise
}

// changed: an update of status only, such as our own, is no reason to try again.
func changed(old, updated *cluster.Pod) bool {
	return old.Generation != updated.Generation || !maps.Equal(old.Labels, updated.Labels) || old.Priority() != updated.Priority()
}

// Remove takes a pod out of the queue.
func (q *Queue) Remove(uid types.UID) {
	if it := q.items[uid]; it != nil {
		q.enter(it, nowhere, "")
		delete(q.items, uid)
	}
}

// Pop takes the pod to try next, or nil. It is out of the queue until Park or Retry.
func (q *Queue) Pop(now time.Time) *Item {
	q.advance(now)
	var it *Item
	switch {
	case len(q.active.items) > 0:
		it = q.active.items[0]
	case len(q.backoff.items) > 0 && q.backoff.items[0].after == nil:
		// Idle anyway: a pod that lacked a node need not wait when there may be one now.
		it = q.backoff.items[0]
	default:
		return nil
	}
	q.enter(it, nowhere, "")
	delete(q.items, it.Pod.UID)
	it.Attempts++
	it.tried, it.Rejected = now, nil
	if it.First.IsZero() {
		it.First = now
	}
	return it
}

// advance moves what has waited long enough.
func (q *Queue) advance(now time.Time) {
	for len(q.backoff.items) > 0 && !q.backoff.items[0].ready.After(now) {
		q.enter(q.backoff.items[0], active, backoffOver)
	}
	for _, it := range q.parked {
		if now.Sub(it.tried) >= longestPark {
			q.unpark(it, parkedTooLong, now)
		}
	}
}

// Next returns when Pop may return something that it would not now; the zero time for never, without a change.
func (q *Queue) Next() time.Time {
	var next time.Time
	if len(q.backoff.items) > 0 {
		next = q.backoff.items[0].ready
	}
	for _, it := range q.parked {
		if t := it.tried.Add(longestPark); next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// Park keeps a popped pod until one of the changes in wake happens.
func (q *Queue) Park(it *Item, wake cluster.Change) {
	it.Wake, it.after = wake, nil
	q.items[it.Pod.UID] = it
	q.enter(it, parked, attemptFailed)
}

// Retry puts a popped pod back after an error that has nothing to do with nodes.
func (q *Queue) Retry(it *Item, err error) {
	it.after = err
	it.ready = it.tried.Add(it.backoff())
	q.items[it.Pod.UID] = it
	q.enter(it, backingOff, attemptFailed)
}

// Woken un-parks the pods that wait for one of the changes and for which may says so; nil says so for all.
func (q *Queue) Woken(change cluster.Change, may func(*cluster.Pod) bool, now time.Time) {
	if change == 0 {
		return
	}
	for _, it := range q.parked {
		if it.Wake&change != 0 && (may == nil || may(it.Pod)) {
			q.unpark(it, change.Label(), now)
		}
	}
}

func (q *Queue) unpark(it *Item, event string, now time.Time) {
	it.ready = it.tried.Add(it.backoff())
	if it.ready.After(now) {
		q.enter(it, backingOff, event)
		return
	}
	q.enter(it, active, event)
}

func (it *Item) backoff() time.Duration {
	d := firstBackoff
	for range it.Attempts - 1 {
		if d *= 2; d >= maxBackoff {
			return maxBackoff
		}
	}
	return d
}

// Count returns how many pods are in each place, under the names of upstream's metrics.
func (q *Queue) Count() map[string]int {
	waiting := len(q.active.items) + len(q.backoff.items) + len(q.parked)
	return map[string]int{
		"active": len(q.active.items), "backoff": len(q.backoff.items),
		"unschedulable": len(q.parked), "gated": len(q.items) - waiting,
	}
}

// gatesPlugin is upstream's name for what keeps gated pods from being tried.
const gatesPlugin = "SchedulingGates"

// Rejected returns how many pods wait that a plug-in has rejected. Several may have rejected the same.
func (q *Queue) Rejected() map[string]int {
	out := map[string]int{}
	for _, it := range q.items {
		for _, plugin := range it.Rejected {
			out[plugin]++
		}
		if it.where == gated {
			out[gatesPlugin]++
		}
	}
	return out
}

// tell says that a pod has come to a place. To upstream, a gated pod is one of the unschedulable.
func (q *Queue) tell(to place, event string) {
	if q.Entered == nil || to == nowhere {
		return
	}
	q.Entered([...]string{active: "active", backingOff: "backoff", parked: "unschedulable", gated: "unschedulable"}[to], event)
}

// enter moves an item from where it is to another place because of an event.
func (q *Queue) enter(it *Item, to place, event string) {
	q.tell(to, event)
	switch it.where {
	case active:
		heap.Remove(&q.active, it.index)
	case backingOff:
		heap.Remove(&q.backoff, it.index)
	case parked:
		delete(q.parked, it.Pod.UID)
	}
	it.where = to
	switch to {
	case active:
		heap.Push(&q.active, it)
	case backingOff:
		heap.Push(&q.backoff, it)
	case parked:
		q.parked[it.Pod.UID] = it
	}
}

type itemHeap struct {
	items []*Item
	less  func(a, b *Item) bool
}

func (h *itemHeap) Len() int           { return len(h.items) }
func (h *itemHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }
func (h *itemHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}

func (h *itemHeap) Push(x any) {
	it := x.(*Item)
	it.index = len(h.items)
	h.items = append(h.items, it)
}

func (h *itemHeap) Pop() any {
	last := len(h.items) - 1
	it := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return it
}
