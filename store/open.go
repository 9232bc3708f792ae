package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"clipper/api"
	"clipper/store/log"
)

// A Store is the cluster's state. Its methods may be called from any goroutine.
type Store struct {
	options Options
	writer  writer
	log     any               // the log.Log or log.Shared that writer writes to
	annexes map[string]*Store // which keep the resources of these prefixes
	annexed []*Store          // the same, each once

	// mu guards what readers see. It is held for a lookup or for the publication of a batch.
	mu         sync.RWMutex
	revision   int64 // latest published
	opened     int64 // the revision that was found: of what happened before nothing is known
	compacted  int64 // states before this revision are not given out any more
	marks      []mark
	tables     map[string]*table
	unreadable map[Key]*puzzle
	wake       wake // any publication

	closing   chan struct{}
	closeOnce sync.Once
	running   errgroup.Group
}

// Open loads everything in l, which is the store's own, and starts the writer. The store owns l from then on,
// also after an error.
func Open(l log.Log, o Options) (*Store, error) {
	s := newStore(o)
	s.log = l
	found, revision, err := s.load(l.Load, s.decode)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.fill(found, max(revision, 1)) // 0 has a meaning of its own in the API
	s.start(newSequencer(s, l))
	return s, nil
}

// OpenShared loads everything in l, which others write to as well, and starts to follow it. The store owns l
// from then on, also after an error.
func OpenShared(ctx context.Context, l log.Shared, o Options) (*Store, error) {
	s := newStore(o)
	s.log = l
	r := newReplica(s, l)
	found, revision, err := s.load(r.readAll(ctx), s.adopt)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.fill(found, revision)
	s.start(r)
	return s, nil
}

func newStore(o Options) *Store {
	return &Store{
		options: o.withDefaults(),
		tables:  map[string]*table{},
		wake:    newWake(),
		closing: make(chan struct{}),
	}
}

// start is the last step of opening.
func (s *Store) start(w writer) {
	s.writer = w
	s.running.Go(w.run)
}

// fill puts what was loaded into the tables of a new store.
func (s *Store) fill(found content, revision int64) {
	s.revision, s.opened = revision, revision
	for _, p := range found.puzzles {
		s.markUnreadable(p)
	}
	for _, it := range found.items {
		t := s.tableLocked(it.Key.Resource)
		it.Key.Resource = t.resource
		replace(t.tree, t.indexes, nil, it)
	}
}

func (s *Store) decode(e log.Entry) (*Item, error) {
	k, err := parsePath(e.Key, s.options.Root, s.options.Resources)
	if err != nil {
		return nil, err
	}
	plain, mark, err := s.unseal(k.Resource, e.Key, e.Value)
	if err != nil {
		return nil, &UnreadableError{Path: e.Key, Sealed: true, Err: err}
	}
	obj, err := s.object(k, plain)
	sealed := mark != unencrypted // not every provider notices that its key is a wrong one
	if _, known := s.options.Resources[k.Resource]; err != nil && (known || sealed) {
		err = &UnreadableError{Path: e.Key, Sealed: sealed, Err: err}
	}
	if err != nil {
		return nil, err
	}
	k.Namespace, k.Name = obj.GetNamespace(), obj.GetName() // the object's strings: one copy in memory
	obj.SetResourceVersion(formatRevision(e.Revision))
	it := &Item{Key: k, Revision: e.Revision, Created: e.Created, Object: obj, size: len(plain), mark: mark}
	return it, s.remember(it)
}

// object decodes what is below a key.
func (s *Store) object(k Key, plain []byte) (api.Object, error) {
	obj, err := s.options.Codec.Decode(k, plain)
	if err != nil {
		return nil, err
	}
	if _, known := s.options.Resources[k.Resource]; known && obj.GetName() == "" { // upstream's masterleases have none
		obj.SetNamespace(k.Namespace)
		obj.SetName(k.Name)
	}
	if obj.GetNamespace() != k.Namespace || obj.GetName() != k.Name {
		return nil, fmt.Errorf("the object in it is %s/%s", obj.GetNamespace(), obj.GetName())
	}
	return obj, nil
}

// Adopts says whether a store with options o that follows a log would show an entry, or would if it could read it.
// An error means that it would not start.
func Adopts(e log.Entry, o Options) (bool, error) {
	s := newStore(o)
	it, err := s.adopt(e)
	if s.puzzle(e, err) != nil {
		return true, nil
	}
	return it != nil, err
}

// tableLocked returns the table of a resource, which it makes if need be.
func (s *Store) tableLocked(resource string) *table {
	t := s.tables[resource]
	if t == nil {
		t = newTable(resource, s.options.Resources[resource], s.opened, s.options) // until now nothing happened in it
		s.tables[resource] = t
	}
	return t
}

// Revision returns the latest published revision.
func (s *Store) Revision() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.revision
}

// WaitRevision returns when revision has been published, or with ctx's error.
func (s *Store) WaitRevision(ctx context.Context, revision int64) error {
	return s.writer.await(ctx, revision)
}

// waitPublished waits without asking the log.
func (s *Store) waitPublished(ctx context.Context, revision int64) error {
	for {
		s.mu.RLock()
		now, wait := s.revision, s.wake.waitLocked()
		s.mu.RUnlock()
		if now >= revision {
			return nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d, the store is at %d: %w", revision, now, ctx.Err())
		case <-s.closing:
			return ErrClosed
		}
	}
}

// Get returns the latest published state of an object.
func (s *Store) Get(k Key) (*Item, bool) {
	s = s.Of(k.Resource)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.getLocked(k)
}

func (s *Store) getLocked(k Key) (*Item, bool) {
	t := s.tables[k.Resource]
	if t == nil {
		return nil, false
	}
	return lookup(t.tree, k)
}

// Resources lists the prefixes that hold objects, in order.
func (s *Store) Resources() []string {
	var out []string
	for _, kept := range s.Stores() {
		kept.mu.RLock()
		for name, t := range kept.tables {
			if t.tree.Len() > 0 {
				out = append(out, name)
			}
		}
		kept.mu.RUnlock()
	}
	slices.Sort(out)
	return out
}

// Fresh returns when Get, Snapshot and all the other methods show every write that anyone, on any server, was
// told of before the call. Where the store's log is its own they always do.
func (s *Store) Fresh(ctx context.Context) error { return s.writer.fresh(ctx) }

// Latest is Get after Fresh: the newest state of an object that anyone may know of.
func (s *Store) Latest(ctx context.Context, k Key) (*Item, bool, error) {
	s = s.Of(k.Resource)
	if err := s.Fresh(ctx); err != nil {
		return nil, false, err
	}
	return s.Lookup(k)
}

// Healthy returns nil if writes can be expected to work. How long to wait for the log is up to ctx.
func (s *Store) Healthy(ctx context.Context) error { return s.writer.healthy(ctx) }

// Close waits for the writes under way, ends all watches and closes the log; and all that of the stores that keep
// something for s.
func (s *Store) Close() error {
	var err error
	for _, a := range s.annexed {
		err = errors.Join(err, a.Close())
	}
	s.closeOnce.Do(func() {
		s.writer.stop()
		close(s.closing)
		s.ringAll()
		err = errors.Join(err, s.running.Wait(), s.writer.close())
	})
	return err
}
