package store

// Annex has another store, whose log is another one, keep some resources, by their storage prefixes. Everything that is
// asked of s about them is answered by it, at its revisions. s and the other must have been opened with Options.Keeps that say
// the same. It is to be called before anybody else uses s, which owns the other from then on.
func (s *Store) Annex(other *Store, resources ...string) {
	if s.annexes == nil {
		s.annexes = map[string]*Store{}
	}
	s.annexed = append(s.annexed, other)
	for _, r := range resources {
		s.annexes[r] = other
	}
}

// Of returns the store that keeps a resource: s itself, as a rule. Revisions of the resource's objects are that store's.
func (s *Store) Of(resource string) *Store {
	if a := s.annexes[resource]; a != nil {
		return a
	}
	return s
}

// Stores lists s, and then the stores that keep something for it, in the order in which they were annexed.
func (s *Store) Stores() []*Store { return append([]*Store{s}, s.annexed...) }
