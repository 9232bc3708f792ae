package member

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/lease/leasepb"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"clipper/store/log"
)

// A Record is the state of one key, and how long it may stay from now on; 0 for ever.
type Record struct {
	log.Entry
	TTL time.Duration
}

// Seed makes the only member of a new cluster, in c.Dir, out of what read yields. Keys keep their revisions, which must
// all be different, and the next write gets the one after that which read returns: to clients of the API nothing has
// happened but that the history before is compacted. The member does not run when Seed returns, and c.Dir is of no use
// if it fails.
func Seed(ctx context.Context, c Config, read func(fn func(Record) error) (revision int64, err error)) error {
	if err := c.found(ctx); err != nil {
		return err
	}
	db := backend.NewDefaultBackend(newLogger(c.Name), filepath.Join(c.Dir, "member", "snap", "db"))
	w := seeding{tx: db.BatchTx(), leases: map[time.Duration]*leasepb.Lease{}, keys: map[int64]int{}}
	w.tx.Lock()
	schema.UnsafeCreateLeaseBucket(w.tx)
	revision, err := read(w.put)
	if err == nil {
		mvcc.UnsafeSetScheduledCompact(w.tx, revision)
		mvcc.UnsafeSetFinishedCompact(w.tx, revision)
	}
	w.tx.Unlock()
	db.ForceCommit()
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("fill etcd member %s in %s: %w", c.Name, c.Dir, err)
	}
	return nil
}

// found makes an empty cluster. Its log must begin with a snapshot: members that join later get what is put into the
// database by the snapshot alone, as the log does not tell of it.
func (c Config) found(ctx context.Context) error {
	c.snapshotCount = 1
	m, err := Start(ctx, c)
	if err != nil {
		return err
	}
	client := m.Client()
	defer client.Close()
	for range 3 { // entries of the log: one snapshot comes with every second
		if _, err := client.Delete(ctx, "seed"); err != nil { // which does not exist: no revision is used up
			return errors.Join(fmt.Errorf("etcd member %s in %s: %w", c.Name, c.Dir, err), m.Close())
		}
	}
	if err := m.Close(); err != nil {
		return err
	}
	snapshots, err := filepath.Glob(filepath.Join(c.Dir, "member", "snap", "*.snap"))
	if err == nil && len(snapshots) == 0 {
		err = errors.New("it has taken no snapshot")
	}
	if err != nil {
		return fmt.Errorf("etcd member %s in %s: %w", c.Name, c.Dir, err)
	}
	return nil
}

// flushKeys is how many keys are put before the database may write them out.
const flushKeys = 1000

// leaseKeys is how many keys one lease is for.
const leaseKeys = 1000

// A seeding writes keys as etcd's own store does: by revision, each with its lease.
type seeding struct {
	tx     backend.BatchTx
	leases map[time.Duration]*leasepb.Lease // that is given out at the moment
	keys   map[int64]int                    // of a lease
	last   int64                            // lease
	puts   int
}

func (w *seeding) put(r Record) error {
	kv := mvccpb.KeyValue{Key: []byte(r.Key), Value: r.Value, CreateRevision: r.Created, ModRevision: r.Revision, Version: 1, Lease: w.lease(r.TTL)}
	value, err := kv.Marshal()
	if err != nil {
		return fmt.Errorf("key %s: %w", r.Key, err)
	}
	w.tx.UnsafePut(schema.Key, mvcc.RevToBytes(mvcc.Revision{Main: r.Revision}, mvcc.NewRevBytes()), value)
	if w.puts++; w.puts%flushKeys == 0 {
		w.tx.Unlock()
		w.tx.Lock()
	}
	return nil
}

// lease returns one that ends after ttl.
func (w *seeding) lease(ttl time.Duration) int64 {
	if ttl == 0 {
		return 0
	}
	l := w.leases[ttl]
	if l == nil || w.keys[l.ID] == leaseKeys {
		w.last++
		seconds := int64((ttl + time.Second - 1) / time.Second)
		l = &leasepb.Lease{ID: w.last, TTL: seconds, RemainingTTL: seconds}
		schema.MustUnsafePutLease(w.tx, l)
		w.leases[ttl] = l
	}
	w.keys[l.ID]++
	return l.ID
}
