// Package store holds the cluster's state: one immutable object per key and revision, in memory, behind
// a log that makes every acknowledged write durable.
//
// A revision is a number that grows by one with every committed write, whatever its key. An object's
// resourceVersion is the revision that wrote it. Objects handed out are shared by every reader and must
// not be changed by anyone; in tests the store hashes what it publishes and checks it later.
//
// A write is reserved under a short lock (preconditions, revision), made durable with the others that
// wait at that moment (group commit, one sync for all), then published to readers and watchers in
// revision order. Nobody sees a write that could still be lost.
//
// A watch delivers every change of its range after a given revision, in order, once. Recent changes are
// kept in a ring; a watch that asks for an older revision gets ErrCompacted.
package store

import (
	"context"
	"errors"
	"time"

	"clipper/api"
)

// Errors that callers turn into API errors at the edge.
var (
	// ErrCompacted: the revision asked for is older than the ring. API: 410 Expired.
	ErrCompacted = errors.New("revision has been compacted")
	// ErrFuture: the revision asked for has not been written yet. API: 504, "Too large resource version".
	ErrFuture = errors.New("revision is in the future")
	// ErrReadOnly: the log failed (a full disk, say); reads go on, writes are refused. It wraps the cause.
	ErrReadOnly = errors.New("store is read-only")
	// ErrClosed: the store is closing.
	ErrClosed = errors.New("store is closed")
)

// A ConflictError says that a write's precondition did not hold. Current is the state that it met (nil:
// absent), which is durable and published by the time the caller learns of it.
type ConflictError struct{ Current *Item }

func (e *ConflictError) Error() string { return "precondition on the object's revision failed" }

// A Key addresses an object. On disk it is /registry/<Resource>/<Namespace>/<Name>, as upstream.
type Key struct {
	Resource  string // storage prefix: "pods", "deployments", "stable.example.com/crontabs"
	Namespace string // "" for cluster-scoped objects
	Name      string
}

// An Item is one object at one revision. It never changes.
type Item struct {
	Key      Key
	Revision int64      // of the write that made this state; equals Object's resourceVersion
	Created  int64      // revision of the write that created the object
	Object   api.Object // read-only

	mark      sealMark
	size      int // of the encoded object
	encodings encodingCache
	sum       uint64 // of the encoding at publication; only with Options.CheckMutation
}

// A Write asks for one change.
type Write struct {
	Key Key
	// Expect is the revision that the object must have: 0 means that it must not exist.
	Expect int64
	// Object is the new state, nil to delete. The store takes it over: it sets resourceVersion, and the
	// caller must not touch it again.
	Object api.Object
}

// An Event is one committed change.
type Event struct {
	Revision int64
	Old, New *Item // Old nil: created. New nil: deleted; Last is then the final state, at Revision.
	Last     *Item

	at time.Time // of publication
}

// Committer is the writing half of a Store.
type Committer interface {
	// Commit makes w durable and returns the new item once readers can see it (for a deletion: the final
	// state). It returns *ConflictError if the precondition fails, ErrReadOnly or ErrClosed. After ctx has
	// ended the write may still happen; Commit says so by ctx's error.
	Commit(ctx context.Context, w Write) (*Item, error)
}
