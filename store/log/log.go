// Package log defines what the store needs of the place that makes its writes durable: an atomic,
// synced append of a few entries, and one pass over everything at start. The store itself answers every
// read from memory. Package pebble below is the embedded implementation.
package log

import "context"

// An Entry is the state of one key.
type Entry struct {
	Key      string // "/registry/pods/default/web"
	Value    []byte // nil: the key is deleted
	Created  int64  // revision that created the key
	Revision int64  // revision that wrote this state
}

// A Sized log knows how much room it takes.
type Sized interface {
	// Size returns the bytes on disk of the whole log.
	Size(ctx context.Context) (int64, error)
}

// A Log keeps the latest entry of every key and the highest revision ever appended.
type Log interface {
	// Load calls fn with every live entry in key order and returns the highest revision appended, 0 for a
	// new log. Value is only valid during the call. Damaged data is an error, never skipped.
	Load(fn func(Entry) error) (revision int64, err error)
	// Append makes the entries and the revision durable before it returns: all of them or, after a
	// crash, none. A later entry of the same key wins. After an error every further Append fails with
	// the same cause. Calls do not overlap.
	Append(revision int64, entries []Entry) error
	Close() error
}
