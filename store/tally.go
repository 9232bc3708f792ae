package store

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/store/log"
)

// A Tally is what has happened to one resource, and what there is.
type Tally struct {
	Resource  schema.GroupResource
	Published uint64 // changes since the store was opened
	Revision  int64  // up to which they are known
	Size      int    // of all objects, encoded, estimated from a few
	Capacity  int    // changes that watches may lag behind, at most
}

// Tally returns a Tally for every resource that was ever looked at.
func (s *Store) Tally() []Tally {
	var out []Tally
	for _, kept := range s.Stores() {
		kept.mu.Lock()
		for name, t := range kept.tables {
			out = append(out, Tally{Resource: s.groupResource(name), Published: t.published, Revision: kept.revision, Size: meanSize(t.tree) * t.tree.Len(), Capacity: t.ring.maxEvents})
		}
		kept.mu.Unlock()
	}
	return out
}

// Size returns how much room the store's own log takes, where it can tell.
func (s *Store) Size(ctx context.Context) (int64, error) {
	if l, ok := s.log.(log.Sized); ok {
		return l.Size(ctx)
	}
	return 0, errors.ErrUnsupported
}

// Operations, in the words of upstream's metrics.
const (
	opCreate = "create"
	opUpdate = "update"
	opDelete = "delete"
)

func (w *Write) operation() string {
	switch {
	case w.Object == nil:
		return opDelete
	case w.Expect == 0:
		return opCreate
	}
	return opUpdate
}

// committed tells whoever wants to know of a write that began at begun.
func (s *Store) committed(w *Write, operation string, begun time.Time, err error) {
	if tell := s.options.Committed; tell != nil {
		tell(s.groupResource(w.Key.Resource), w.Key.Resource, operation, time.Since(begun), err)
	}
}
