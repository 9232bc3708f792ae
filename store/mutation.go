package store

import (
	"errors"
	"fmt"
	"hash/fnv"
)

// remember notes what it encodes to, if the store checks for mutation.
func (s *Store) remember(it *Item) (err error) {
	if s.options.CheckMutation {
		it.sum, err = s.sum(it)
	}
	return err
}

func (s *Store) sum(it *Item) (uint64, error) {
	b, err := s.options.Codec.Encode(it.Key, it.Object)
	if err != nil {
		return 0, fmt.Errorf("encode %s: %w", it.Key.Path(), err)
	}
	h := fnv.New64a()
	h.Write(b)
	h.Write([]byte(it.Object.GetResourceVersion()))
	return h.Sum64(), nil
}

// Verify returns an error for every object that someone changed after it was published, among those
// in the tables and rings. It needs Options.CheckMutation.
func (s *Store) Verify() error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := map[*Item]bool{}
	var errs []error
	check := func(it *Item) bool {
		if it == nil || seen[it] {
			return true
		}
		seen[it] = true
		if sum, err := s.sum(it); err != nil || sum != it.sum {
			errs = append(errs, errors.Join(fmt.Errorf("%s at revision %d was changed after publication", it.Key.Path(), it.Revision), err))
		}
		return true
	}
	for _, t := range s.tables {
		t.tree.Scan(check)
		for _, e := range t.ring.events {
			check(e.Old)
			check(e.New)
			check(e.Last)
		}
	}
	return errors.Join(errs...)
}
