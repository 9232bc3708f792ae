package store

import (
	"cmp"
	"slices"
	"time"

	"clipper/store/log"
)

// expiry deletes what nobody writes to again, where the log does not do it by itself. All objects of a resource
// have the same life, so that they end in the order in which they were written: a queue for each is enough. Only
// its sequencer's goroutine uses it.
type expiry struct {
	ttl    map[string]time.Duration
	queues map[string][]mortal
	timer  *time.Timer // nil if nothing ends
}

// A mortal is one state of an object and the time when it ends, unless there is a later state then.
type mortal struct {
	key      Key
	revision int64
	end      time.Time
}

func newExpiry(s *Store) *expiry {
	x := &expiry{ttl: s.options.TTL, queues: map[string][]mortal{}}
	if len(x.ttl) == 0 {
		return x
	}
	x.timer = time.NewTimer(0)
	for resource, ttl := range x.ttl {
		s.Snapshot(resource).Ascend("", Key{}, func(it *Item) bool {
			x.queues[resource] = append(x.queues[resource], mortal{it.Key, it.Revision, lastWritten(it).Add(ttl)})
			return true
		})
		slices.SortFunc(x.queues[resource], func(a, b mortal) int { return cmp.Compare(a.revision, b.revision) })
	}
	return x
}

// lastWritten is when an object that was there at the start was written, as far as it says so itself.
func lastWritten(it *Item) time.Time {
	at := it.Object.GetCreationTimestamp().Time
	for _, f := range it.Object.GetManagedFields() {
		if f.Time != nil && f.Time.After(at) {
			at = f.Time.Time
		}
	}
	return at
}

// elapsed tells when next should be called; nil: never.
func (x *expiry) elapsed() <-chan time.Time {
	if x.timer == nil {
		return nil
	}
	return x.timer.C
}

// published notes what has got a life.
func (x *expiry) published(events []*Event, now time.Time) {
	if x.timer == nil {
		return
	}
	for _, e := range events {
		if e.New == nil {
			continue
		}
		r := e.New.Key.Resource
		ttl, ok := x.ttl[r]
		if !ok {
			continue
		}
		if x.queues[r] = append(x.queues[r], mortal{e.New.Key, e.Revision, now.Add(ttl)}); len(x.queues[r]) == 1 {
			x.wakeAt(now)
		}
	}
}

// over takes out what has ended at the time now.
func (x *expiry) over(now time.Time) []mortal {
	var out []mortal
	for r, queue := range x.queues {
		n := 0
		for n < len(queue) && !queue[n].end.After(now) {
			n++
		}
		out = append(out, queue[:n]...)
		if queue = queue[n:]; len(queue) == 0 {
			queue = nil
		}
		x.queues[r] = queue
	}
	x.wakeAt(now)
	return out
}

// wakeAt sets the timer to the next end.
func (x *expiry) wakeAt(now time.Time) {
	next := time.Duration(-1)
	for _, queue := range x.queues {
		if len(queue) > 0 {
			if d := max(0, queue[0].end.Sub(now)); next < 0 || d < next {
				next = d
			}
		}
	}
	if next < 0 {
		x.timer.Stop()
		return
	}
	x.timer.Reset(next)
}

// expire enters the deletion of what has ended. Whatever was written since has another revision.
func (q *sequencer) expire(now time.Time) {
	for _, m := range q.expiry.over(now) {
		// A refusal means that there is a later state, or that the log has failed: then nothing ends any more.
		_, _, _ = q.enter(Write{Key: m.key, Expect: m.revision}, log.Entry{Key: q.s.path(m.key)}, unencrypted)
	}
}
