package log

import (
	"context"
	"errors"
	"time"
)

// Errors of a shared log's past and future.
var (
	// ErrCompacted: the history that was asked for is gone. What there is now can still be read.
	ErrCompacted = errors.New("the log's history has been compacted")
	// ErrFuture: the revision that was asked for has not been written yet.
	ErrFuture = errors.New("the log has not come to this revision yet")
)

// A Shared log is kept by others, and written to by others too. It gives out the revisions, decides about
// preconditions, and tells everyone of every change in the same order. Package etcd below is the one there is.
//
// Errors that wrap a *FaultError are the log's own; an ended context of the caller's comes back as that
// context's error. After either a write may have happened or not.
type Shared interface {
	// Read calls fn with every entry whose key begins with under, in key order, as they were at a revision (0:
	// now), and returns that revision. Value is only valid during the call. It returns ErrCompacted or
	// ErrFuture where the log does not have that revision.
	Read(ctx context.Context, under string, revision int64, fn func(Entry) error) (int64, error)
	// Write makes one change if its key was last written at the revision expect (0: does not exist).
	Write(ctx context.Context, c Change, expect int64) (Outcome, error)
	// Revision returns one that is not older than any write that anyone, anywhere, was told of before the call.
	Revision(ctx context.Context) (int64, error)
	// Follow calls fn with all that changes after a revision, in order and without a gap, until ctx ends, fn
	// fails or the log cannot be followed on; it always returns an error, ErrCompacted among them. fn is told how
	// far it knows everything; entries of one revision come in one call. The first call comes as soon as the log
	// is followed, if need be without entries.
	Follow(ctx context.Context, after int64, fn func(entries []Entry, revision int64) error) error
	// Progress asks that Follow call fn soon, with the revision that is the latest then, also if nothing changes.
	Progress(ctx context.Context) error
	// Run does what the log needs to have done from time to time, until ctx ends.
	Run(ctx context.Context) error
	Close() error
}

// A Change is what a write asks for.
type Change struct {
	Key   string
	Value []byte // nil: delete the key
	// TTL is how long the key stays when nobody writes to it again; 0 for ever.
	TTL time.Duration
}

// An Outcome says what came of a write that the log has decided about.
type Outcome struct {
	Written bool
	// Revision is that of the write or, if the precondition did not hold, one at which it did not.
	Revision int64
	// Current is the state that was met instead; nil if the key does not exist or the write happened.
	Current *Entry
}

// A FaultError is a failure of the log itself: out of reach, without a leader, full. Its text is the cause's.
type FaultError struct {
	Err error
	// TooLarge says that the log takes no value of that size.
	TooLarge bool
}

func (e *FaultError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FaultError) Unwrap() error { return e.Err }
