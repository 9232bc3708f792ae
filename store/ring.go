package store

import (
	"sort"
	"time"
)

// A ring keeps a resource's latest events, oldest first. Readers hold slices of events that they got
// under the store's lock; so an element never changes, and trimming moves the live ones to a new array.
type ring struct {
	events    []*Event
	bytes     int
	compacted int64 // events up to this revision are gone
	dead      int   // places in the array before events that still hold old ones

	maxEvents, maxBytes int
	maxAge              time.Duration
}

// encodedEvents is how many of a resource's latest events keep their encodings: as far as watchers that
// keep up are apart. Kept for the whole ring they would take several times the objects' memory; one who
// lags further behind encodes for himself.
const encodedEvents = 128

func (e *Event) size() int {
	switch {
	case e.New != nil:
		return e.New.size
	case e.Last != nil:
		return e.Last.size
	}
	return 0
}

// newest returns the state that e made: the object, or what it was last.
func (e *Event) newest() *Item {
	if e.New != nil {
		return e.New
	}
	return e.Last
}

func (r *ring) add(e *Event) {
	e.newest().encodings.keep()
	if len(r.events) == cap(r.events) {
		r.dead = 0 // append moves the live ones to a new array
	}
	r.events = append(r.events, e)
	r.bytes += e.size()
	if n := len(r.events); n > encodedEvents {
		r.events[n-1-encodedEvents].newest().encodings.drop()
	}
	r.trim(e.at)
}

// trim lets go of events that are too many, too large or too old at the time now.
func (r *ring) trim(now time.Time) {
	drop := 0
	for r.tooMany(drop, now) {
		r.bytes -= r.events[drop].size()
		r.events[drop].newest().encodings.drop()
		r.compacted = r.events[drop].Revision
		drop++
	}
	r.events = r.events[drop:]
	if r.dead += drop; r.dead > len(r.events)/2+minRing {
		r.events = append(make([]*Event, 0, len(r.events)+len(r.events)/4+1), r.events...)
		r.dead = 0
	}
}

// reset forgets all events: what happened up to revision is not known.
func (r *ring) reset(revision int64) {
	for _, e := range r.events {
		e.newest().encodings.drop()
	}
	r.events, r.bytes, r.dead, r.compacted = nil, 0, 0, revision
}

// tooMany says whether one more event than drop has to go at the time now.
func (r *ring) tooMany(drop int, now time.Time) bool {
	n := len(r.events) - drop
	return n > r.maxEvents || n > minRing && (r.bytes > r.maxBytes || now.Sub(r.events[drop].at) > r.maxAge)
}

// after returns the events with greater revisions than revision, which must not be compacted.
func (r *ring) after(revision int64) []*Event {
	n := len(r.events)
	// Most who ask are nearly up to date: look from the end in growing steps.
	lo := 0
	for step := 1; step < n; step *= 2 {
		if r.events[n-step].Revision <= revision {
			lo = n - step
			break
		}
	}
	i := lo + sort.Search(n-lo, func(i int) bool { return r.events[lo+i].Revision > revision })
	return r.events[i:n:n]
}
