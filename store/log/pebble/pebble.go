// Package pebble keeps the store's log in an embedded LSM tree. Each append is one batch whose
// write-ahead record is synced before the call returns. The tree is tuned to be small: after the pass
// at start nothing is read from it, so it needs next to no cache.
package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"clipper/store/log"
)

const (
	cacheBytes    = 1 << 20
	memTableBytes = 4 << 20 // a write-ahead file is about as long; two exist at a time

	keyFormat   = "clipper/format"
	keyRevision = "clipper/revision"
	format      = "1"

	ackedFile = "acknowledged"

	firstKey, endKey = "/registry/", "/registry0" // "0" follows "/"
)

// A Log is a log.Log in a pebble database.
type Log struct {
	dir    string
	db     *pebble.DB
	acked  *acknowledged
	failed failure
	closed sync.Once
}

// Open opens or makes the log in dir. fs is nil for the operating system's; tests inject faults with it.
func Open(dir string, fs vfs.FS) (*Log, error) {
	if fs == nil {
		fs = vfs.Default
	}
	l := &Log{dir: dir, failed: failure{ch: make(chan struct{})}}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{
		FS:                 fs,
		Cache:              cache,
		MemTableSize:       memTableBytes,
		MaxOpenFiles:       64,
		FormatMajorVersion: pebble.FormatNewest,
		Logger:             &logger{fail: l.failed.set},
		EventListener: &pebble.EventListener{
			BackgroundError: l.failed.set,
		},
	}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		return nil, openError(dir, err)
	}
	l.db = db
	if l.acked, err = openAcknowledged(fs, fs.PathJoin(dir, ackedFile)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := l.checkFormat(); err != nil {
		return nil, errors.Join(err, l.acked.f.Close(), db.Close())
	}
	return l, nil
}

func openError(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.EAGAIN), strings.Contains(err.Error(), "lock held by current process"):
		return fmt.Errorf("open store in %s: another process has it open; stop that one first: %w", dir, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("open store in %s: a file is damaged; restore the directory from a backup: %w", dir, err)
	}
	return fmt.Errorf("open store in %s: %w", dir, err)
}

// checkFormat refuses a log that a later version wrote, and marks a new one.
func (l *Log) checkFormat() error {
	v, err := l.get(keyFormat)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		if err := l.db.Set([]byte(keyFormat), []byte(format), pebble.Sync); err != nil {
			return fmt.Errorf("write store format in %s: %w", l.dir, err)
		}
		return l.failed.err()
	case err != nil:
		return fmt.Errorf("read store format in %s: %w", l.dir, err)
	case string(v) != format:
		return fmt.Errorf("open store in %s: format is %q, this program knows %q; run the version that wrote it", l.dir, v, format)
	}
	return nil
}

func (l *Log) get(key string) ([]byte, error) {
	v, closer, err := l.db.Get([]byte(key))
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	return append([]byte(nil), v...), nil
}

// Size implements log.Sized.
func (l *Log) Size(context.Context) (int64, error) {
	return int64(l.db.Metrics().DiskSpaceUsage()), nil
}

// Load implements log.Log.
func (l *Log) Load(fn func(log.Entry) error) (int64, error) {
	revision, err := l.Revision()
	if err != nil {
		return 0, err
	}
	if err := l.acked.check(l.dir, revision); err != nil {
		return 0, err
	}
	it, err := l.db.NewIter(&pebble.IterOptions{LowerBound: []byte(firstKey), UpperBound: []byte(endKey)})
	if err != nil {
		return 0, fmt.Errorf("load store from %s: %w", l.dir, err)
	}
	last := ""
	for ok := it.First(); ok; ok = it.Next() {
		e, err := decode(string(it.Key()), it.Value())
		if err == nil && e.Revision > revision {
			err = fmt.Errorf("key %s: revision %d is beyond the store's, %d", e.Key, e.Revision, revision)
		}
		if err == nil {
			err = fn(e)
		}
		if err != nil {
			return 0, errors.Join(fmt.Errorf("load store from %s: %w", l.dir, err), it.Close())
		}
		last = e.Key
	}
	if err := it.Close(); err != nil {
		return 0, fmt.Errorf("load store from %s: after key %q: a file is damaged; restore the directory from a backup: %w", l.dir, last, err)
	}
	return revision, nil
}

// Revision returns the highest revision appended, 0 for a new log.
func (l *Log) Revision() (int64, error) {
	v, err := l.get(keyRevision)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read store revision in %s: %w", l.dir, err)
	case len(v) != 8:
		return 0, fmt.Errorf("read store revision in %s: %d bytes, want 8; restore the directory from a backup", l.dir, len(v))
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// Append implements log.Log.
func (l *Log) Append(revision int64, entries []log.Entry) error {
	if err := l.failed.err(); err != nil {
		return err
	}
	// A full disk can show first in a background flush, and then Apply waits for ever for room in
	// memory. So Apply runs aside and is given up once the log has failed.
	done := make(chan error, 1)
	go func() { done <- l.apply(revision, entries) }()
	select {
	case err := <-done:
		if err != nil {
			l.failed.set(err)
		}
		return l.failed.err()
	case <-l.failed.ch:
		return l.failed.err()
	}
}

func (l *Log) apply(revision int64, entries []log.Entry) error {
	b := l.db.NewBatch()
	defer b.Close()
	buf := []byte(nil)
	for _, e := range entries {
		var err error
		if e.Value == nil {
			err = b.Delete([]byte(e.Key), nil)
		} else {
			buf = encode(buf[:0], e)
			err = b.Set([]byte(e.Key), buf, nil)
		}
		if err != nil {
			return fmt.Errorf("append %s: %w", e.Key, err)
		}
	}
	if err := b.Set([]byte(keyRevision), binary.BigEndian.AppendUint64(buf[:0], uint64(revision)), nil); err != nil {
		return fmt.Errorf("append revision %d: %w", revision, err)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return err
	}
	if err := l.failed.err(); err != nil {
		return err // pebble reports some failures to its logger only
	}
	return l.acked.set(revision)
}

// Close implements log.Log. After a clean close the write-ahead log is empty.
func (l *Log) Close() (err error) {
	l.closed.Do(func() {
		if l.failed.err() == nil {
			err = errors.Join(l.db.Flush(), l.db.Close(), l.acked.f.Close())
		} // else the caller has had the error, and the files are as a crash would leave them
	})
	return err
}

// A failure keeps the first error that makes the log unfit for writing.
type failure struct {
	mu    sync.Mutex
	ch    chan struct{} // closed with the first error
	first error
}

func (f *failure) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		f.first = err
		close(f.ch)
	}
}

func (f *failure) err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.first
}

// logger passes pebble's errors on and turns its "fatal" into a failed log: reads go on, writes do not.
type logger struct{ fail func(error) }

func (*logger) Infof(string, ...any) {}

func (*logger) Errorf(format string, args ...any) {
	slog.Error("store log", "error", fmt.Sprintf(format, args...))
}

func (lg *logger) Fatalf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok {
			lg.fail(err) // keeps the cause, ENOSPC say, for errors.Is
			return
		}
	}
	lg.fail(fmt.Errorf(format, args...))
}
