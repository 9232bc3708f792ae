package store

import (
	"slices"
	"time"
)

// publish shows changes that are durable to readers and watchers. events are in the order of their revisions,
// all of which are greater than those before; revision is how far everything is known now.
func (s *Store) publish(events []*Event, revision int64) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range events {
		e.at = now
		s.forgetLocked(e.newest().Key, e.Revision)
		s.tableLocked(e.newest().Key.Resource).applyLocked(e)
	}
	s.revision = revision
	var last *table
	for _, e := range events {
		if t := s.tables[e.newest().Key.Resource]; t != last {
			t.wake.broadcastLocked()
			last = t
		}
	}
	s.wake.broadcastLocked()
	s.sweepLocked(now)
}

// sweepInterval is how often all rings are looked at together: one that gets no new events would otherwise
// keep those of its last busy hour.
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
	s.shareRingsLocked()
	for _, t := range s.tables {
		t.ring.trim(now)
		t.forgetPastLocked()
	}
}

// shareRingsLocked says how large each ring may become. One busy resource has all that one may have; when
// many are, the largest rings give way, and those of quiet resources stay as they are.
func (s *Store) shareRingsLocked() {
	sizes := make([]int, 0, len(s.tables))
	for _, t := range s.tables {
		sizes = append(sizes, t.ring.bytes)
	}
	largest := min(s.options.RingBytes, fairShare(sizes, s.options.RingTotal))
	for _, t := range s.tables {
		t.ring.maxBytes = largest
	}
}

// fairShare returns the size that the sizes must be cut to for their sum not to be more than total; total
// if it is not. It orders sizes.
func fairShare(sizes []int, total int) int {
	slices.Sort(sizes)
	left := total
	for i, size := range sizes {
		if fair := left / (len(sizes) - i); size > fair {
			return fair
		}
		left -= size
	}
	return total
}
