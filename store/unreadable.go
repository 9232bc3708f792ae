package store

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"clipper/store/log"
)

// A value that cannot be decrypted may be readable tomorrow: its key is missing from the configuration, or the plug-in
// that knows it is away. One that cannot be decoded may be of a later version, or spoilt by whoever else writes to the
// log. Either stays as it is: reads of it, and lists that it belongs to, fail; nobody may write over it; everything
// else is served. Every such read tries again.

// An UnreadableError says that a key holds a value that cannot be decrypted, or not be decoded.
type UnreadableError struct {
	Path   string
	Sealed bool  // it is encrypted, or says so
	Err    error // the words of the sealer, or of the codec
}

func (e *UnreadableError) Error() string { return fmt.Sprintf("key %s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// A puzzle is an entry that could not be read.
type puzzle struct {
	key   Key
	entry log.Entry
	err   *UnreadableError
}

// puzzle returns what is to be remembered of an entry that failed to decode with err; nil if err is none of its sort.
func (s *Store) puzzle(e log.Entry, err error) *puzzle {
	var cause *UnreadableError
	if err == nil || !errors.As(err, &cause) {
		return nil
	}
	k, err := s.keyAt(e.Key)
	if err != nil {
		return nil
	}
	return &puzzle{key: k, entry: e, err: cause}
}

// markUnreadable remembers a puzzle. entry.Value is the store's from then on. What was known of the key stays in its
// table, for watches: a change that cannot be shown is none that they can be told of.
func (s *Store) markUnreadable(p *puzzle) {
	s.mu.Lock()
	s.markLocked(p)
	s.mu.Unlock()
	p.report()
}

func (s *Store) markLocked(p *puzzle) {
	if s.unreadable == nil {
		s.unreadable = map[Key]*puzzle{}
	}
	s.unreadable[p.key] = p
}

func (p *puzzle) report() {
	if !p.err.Sealed {
		slog.Error("a value cannot be decoded; it is kept as it is, and reads of it fail until it is replaced or deleted in the store below",
			"key", p.err.Path, "revision", p.entry.Revision, "err", p.err.Err)
		return
	}
	slog.Error("a value cannot be decrypted; it is kept as it is, and reads of it fail until the encryption configuration names its key",
		"key", p.err.Path, "revision", p.entry.Revision, "err", p.err.Err)
}

// Lookup is Get, with an error for a key whose value cannot be read.
func (s *Store) Lookup(k Key) (*Item, bool, error) {
	s = s.Of(k.Resource)
	s.mu.RLock()
	it, ok := s.getLocked(k)
	p := s.unreadable[k]
	s.mu.RUnlock()
	if p == nil {
		return it, ok, nil
	}
	return s.retry(p)
}

// Complete returns an *UnreadableError if a resource has a value that cannot be read, below a namespace or ("")
// anywhere.
func (s *Store) Complete(resource, namespace string) error {
	s = s.Of(resource)
	for _, p := range s.puzzles(resource, namespace) {
		if _, _, err := s.retry(p); err != nil {
			return err
		}
	}
	return nil
}

// Hides is whether a resource has a value that could not be read so far, below a namespace or ("") anywhere.
func (s *Store) Hides(resource, namespace string) bool {
	s = s.Of(resource)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for k := range s.unreadable {
		if k.Resource == resource && (namespace == "" || k.Namespace == namespace) {
			return true
		}
	}
	return false
}

// puzzles lists what cannot be read of a resource ("": of all), in the order of keys.
func (s *Store) puzzles(resource, namespace string) []*puzzle {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.unreadable) == 0 {
		return nil
	}
	var out []*puzzle
	for k, p := range s.unreadable {
		if (resource == "" || k.Resource == resource) && (namespace == "" || k.Namespace == namespace) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *puzzle) int { return strings.Compare(a.entry.Key, b.entry.Key) })
	return out
}

// retry reads again. What can be read now becomes visible to everyone.
func (s *Store) retry(p *puzzle) (*Item, bool, error) {
	it, err := s.decode(p.entry)
	if err != nil {
		return nil, false, unreadable(p.entry.Key, err)
	}
	s.reveal(p, it)
	it, ok := s.Get(p.key)
	return it, ok, nil
}

func unreadable(path string, err error) *UnreadableError {
	var already *UnreadableError
	if errors.As(err, &already) {
		return already
	}
	return &UnreadableError{Path: path, Err: err}
}

// reveal shows an item that was unreadable until now. Its revision is older than what watches have seen: those of the
// network begin anew, and views learn of it as of a difference.
func (s *Store) reveal(p *puzzle, it *Item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unreadable[p.key] != p {
		return // somebody else was quicker, or it has changed meanwhile
	}
	delete(s.unreadable, p.key)
	t := s.tableLocked(p.key.Resource)
	it.Key.Resource = t.resource
	old, _ := lookup(t.tree, p.key)
	replace(t.tree, t.indexes, old, it)
	t.ring.reset(s.revision)
	t.epoch++
	t.frozen, t.past = nil, nil
	t.wake.broadcastLocked()
	slog.Info("a value can be read again", "key", p.entry.Key)
}

// hides says whether a key is there and cannot be read.
func (s *Store) hides(k Key) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.unreadable[k] != nil
}

// forgetLocked drops a puzzle whose key was written, or deleted, at a later revision.
func (s *Store) forgetLocked(k Key, revision int64) {
	if p := s.unreadable[k]; p != nil && p.entry.Revision < revision {
		delete(s.unreadable, k)
	}
}

// gone is told of a deletion that no event tells of, as its key was not shown.
func (s *Store) gone(k Key, revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(k, revision)
}

// Unreadable lists the keys whose values cannot be read, in order.
func (s *Store) Unreadable() []Key {
	var out []Key
	for _, kept := range s.Stores() {
		for _, p := range kept.puzzles("", "") {
			out = append(out, p.key)
		}
	}
	return out
}
