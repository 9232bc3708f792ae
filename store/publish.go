package store

import "time"

// publish shows changes that are durable to readers and watchers. events are in the order of their revisions,
// all of which are greater than those before; revision is how far everything is known now.
func (s *Store) publish(events []*Event, revision int64) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		e.at = now
		s.tableLocked(e.newest().Key.Resource).applyLocked(e)
	}
	s.revision = revision
	for _, e := range events {
		s.tables[e.newest().Key.Resource].wake.broadcastLocked()
	}
	s.wake.broadcastLocked()
	s.sweepLocked(now)
}

// sweepInterval is how often old events are looked for in all rings: one that gets no new events would
// otherwise keep those of its last busy hour.
const sweepInterval = 30 * time.Second

// A mark notes which revision was the latest at some time.
type mark struct {
	at       time.Time
	revision int64
}

// sweepLocked trims all rings, and moves the revision up to which past states are given out. That one
// follows the clock, not the rings: clients rely on a list's continue token to end, also where nothing
// changes.
func (s *Store) sweepLocked(now time.Time) {
	if n := len(s.marks); n > 0 && now.Sub(s.marks[n-1].at) < sweepInterval {
		return
	}
	s.marks = append(s.marks, mark{now, s.revision})
	for now.Sub(s.marks[0].at) > s.options.RingAge {
		s.compacted = s.marks[0].revision
		s.marks = s.marks[1:]
	}
	for _, t := range s.tables {
		t.ring.trim(now)
		t.forgetPastLocked()
	}
}
