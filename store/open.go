package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"clipper/store/log"
)

// A Store is the cluster's state. Its methods may be called from any goroutine.
type Store struct {
	log     log.Log
	options Options

	// mu guards what readers see. It is held for a lookup or for the publication of a batch.
	mu        sync.RWMutex
	revision  int64 // latest published
	compacted int64 // states before this revision are not given out any more
	marks     []mark
	tables    map[string]*table
	wake      wake // any publication

	// reserve guards what writers agree on before it is durable. Taken before mu, never after.
	reserve  sync.Mutex
	next     int64               // revision of the next write
	reserved map[Key]reservation // states on their way to the log
	forming  *group              // writes for the next append
	failure  error               // set once the log has failed or Close was called

	ready     chan struct{} // tells the writer that forming is not empty; capacity 1
	closing   chan struct{}
	closeOnce sync.Once
	writer    errgroup.Group
}

// Open loads everything in l and starts the writer. The store owns l from then on, also after an error.
func Open(l log.Log, o Options) (*Store, error) {
	s := &Store{
		log:      l,
		options:  o.withDefaults(),
		tables:   map[string]*table{},
		reserved: map[Key]reservation{},
		forming:  newGroup(),
		wake:     newWake(),
		ready:    make(chan struct{}, 1),
		closing:  make(chan struct{}),
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.writer.Go(s.write)
	return s, nil
}

// load fills the tables. Entries arrive in key order from one goroutine and are decoded by several.
func (s *Store) load() error {
	var items [][]*Item
	decoders, ctx := errgroup.WithContext(context.Background())
	decoders.SetLimit(runtime.GOMAXPROCS(0))
	var chunk []log.Entry
	decode := func() {
		entries, out := chunk, make([]*Item, len(chunk))
		items, chunk = append(items, out), nil
		decoders.Go(func() error { return s.decodeAll(ctx, entries, out) })
	}
	revision, err := s.log.Load(func(e log.Entry) error {
		e.Value = slices.Clone(e.Value)
		if chunk = append(chunk, e); len(chunk) == 256 {
			decode()
		}
		return ctx.Err()
	})
	if len(chunk) > 0 {
		decode()
	}
	if derr := decoders.Wait(); derr != nil {
		return derr
	}
	if err != nil {
		return err
	}
	s.revision = max(revision, 1) // 0 has a meaning of its own in the API
	s.next = s.revision + 1
	for _, some := range items {
		for _, it := range some {
			t := s.tableLocked(it.Key.Resource)
			it.Key.Resource = t.resource
			replace(t.tree, t.indexes, nil, it)
		}
	}
	return nil
}

func (s *Store) decodeAll(ctx context.Context, entries []log.Entry, out []*Item) error {
	for i, e := range entries {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		it, err := s.decode(e)
		if err != nil {
			return fmt.Errorf("load store: key %s: %w; restore the data directory from a backup, or remove this key", e.Key, err)
		}
		out[i] = it
	}
	return nil
}

func (s *Store) decode(e log.Entry) (*Item, error) {
	k, err := parsePath(e.Key, s.options.Resources)
	if err != nil {
		return nil, err
	}
	plain, mark, err := s.unseal(k.Resource, e.Key, e.Value)
	if err != nil {
		return nil, err
	}
	obj, err := s.options.Codec.Decode(k, plain)
	if err != nil {
		return nil, err
	}
	if obj.GetNamespace() != k.Namespace || obj.GetName() != k.Name {
		return nil, fmt.Errorf("the object in it is %s/%s", obj.GetNamespace(), obj.GetName())
	}
	k.Namespace, k.Name = obj.GetNamespace(), obj.GetName() // the object's strings: one copy in memory
	obj.SetResourceVersion(formatRevision(e.Revision))
	it := &Item{Key: k, Revision: e.Revision, Created: e.Created, Object: obj, size: len(plain), mark: mark}
	return it, s.remember(it)
}

// tableLocked returns the table of a resource, which it makes if need be.
func (s *Store) tableLocked(resource string) *table {
	t := s.tables[resource]
	if t == nil {
		t = newTable(resource, s.options.Resources[resource], s.revision, s.options)
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
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.getLocked(k)
}

func (s *Store) getLocked(k Key) (*Item, bool) {
	t := s.tables[k.Resource]
	if t == nil {
		return nil, false
	}
	return t.tree.Get(&Item{Key: k})
}

// Resources lists the prefixes that hold objects, in order.
func (s *Store) Resources() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for name, t := range s.tables {
		if t.tree.Len() > 0 {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Close waits for the writes under way, ends all watches and closes the log.
func (s *Store) Close() error {
	var err error
	s.closeOnce.Do(func() {
		s.reserve.Lock()
		if s.failure == nil {
			s.failure = ErrClosed
		}
		s.reserve.Unlock()
		close(s.closing)
		err = errors.Join(s.writer.Wait(), s.log.Close())
	})
	return err
}
