package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"clipper/pki"
	"clipper/store"
	"clipper/store/log"
	"clipper/store/log/etcd"
	"clipper/store/log/etcd/member"
	"clipper/store/log/pebble"
)

// A server that ran alone becomes the first member of an etcd cluster, and the last member of one a server that runs
// alone. Either way the new state is made beside the old one, in a directory of its own, and takes its place in two
// renames; the old one stays under another name, for the administrator to remove. conversionFile exists from the moment
// that the new state is complete until both renames are done: whoever starts next, after a kill in between, does them.
const conversionFile = "datastore-conversion"

// A conversion moves the state in dataDir from one of its directories to the other.
type conversion struct{ dataDir, from, to string }

func (c conversion) path(name string) string { return filepath.Join(c.dataDir, name) }

// fresh is where the new state is made.
func (c conversion) fresh() string { return c.path(c.to + ".new") }

// run makes the new state with build, and puts it in the old one's place.
func (c conversion) run(build func(dir string) error) error {
	slog.Info("converting the datastore; the server is not available meanwhile", "from", c.path(c.from), "to", c.path(c.to))
	if err := os.RemoveAll(c.fresh()); err != nil { // of an attempt that was interrupted
		return fmt.Errorf("convert %s: %w", c.path(c.from), err)
	}
	if err := build(c.fresh()); err != nil {
		return fmt.Errorf("convert %s: %w; it is as it was", c.path(c.from), err)
	}
	if err := pki.WriteFile(c.path(conversionFile), []byte(c.to)); err != nil {
		return fmt.Errorf("convert %s: %w", c.path(c.from), err)
	}
	return finishConversion(c.dataDir)
}

// finishConversion finishes a conversion whose new state is complete. It does nothing if there is none.
func finishConversion(dataDir string) error {
	text, err := os.ReadFile(filepath.Join(dataDir, conversionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("finish the conversion of the datastore: %w", err)
	}
	c := conversion{dataDir: dataDir, from: storeDir, to: strings.TrimSpace(string(text))}
	if c.to == storeDir {
		c.from = memberDir
	}
	kept := fmt.Sprintf("%s.until-%s", c.from, time.Now().UTC().Format("20060102t150405"))
	err = errors.Join(rename(c.fresh(), c.path(c.to)), rename(c.path(c.from), c.path(kept)), syncDir(dataDir))
	if err == nil {
		err = os.Remove(c.path(conversionFile))
	}
	if err != nil {
		return fmt.Errorf("finish the conversion of the datastore in %s: %w", dataDir, err)
	}
	slog.Info("datastore converted; the old one can be removed", "old", c.path(kept))
	return nil
}

// rename does nothing if from has been renamed already.
func rename(from, to string) error {
	err := os.Rename(from, to)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir makes renames in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// toMember makes the state of a server that ran alone that of the first member of an etcd cluster. Everything keeps its
// revision, encrypted values stay as they are.
func (cp *controlPlane) toMember(ctx context.Context, o store.Options) error {
	if err := samePlace(o); err != nil {
		return err
	}
	c := conversion{dataDir: cp.options.Node.DataDir, from: storeDir, to: memberDir}
	return c.run(func(dir string) (err error) {
		l, err := pebble.Open(c.path(c.from), nil)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		config, err := cp.memberConfig(dir)
		if err != nil {
			return err
		}
		return member.Seed(ctx, config, func(fn func(member.Record) error) (int64, error) {
			revision, err := l.Load(func(e log.Entry) error { return fn(member.Record{Entry: e, TTL: o.TimeToLive(e.Key)}) })
			if err != nil {
				return 0, err
			}
			revision++ // that of the mark by which other servers know that they belong to this cluster
			return revision, fn(member.Record{Entry: log.Entry{
				Key: authorityKey(o.Root), Value: []byte(cp.pki.CA.Hash()), Created: revision, Revision: revision,
			}})
		})
	})
}

// toStore makes the state of the only member of an etcd cluster that of a server that runs alone.
func (cp *controlPlane) toStore(ctx context.Context, o store.Options) error {
	if err := samePlace(o); err != nil {
		return err
	}
	if err := cp.openEncryption(ctx, true); err != nil {
		return err
	}
	o.Sealer = cp.encryption
	c := conversion{dataDir: cp.options.Node.DataDir, from: memberDir, to: storeDir}
	return c.run(func(dir string) (err error) {
		config, err := cp.memberConfig(c.path(c.from))
		if err != nil {
			return err
		}
		m, err := member.Start(ctx, config)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, m.Close()) }()
		if others := m.Others(); len(others) > 0 {
			return fmt.Errorf("the etcd cluster has other members, at %s; remove them first: stop their servers, then etcdctl member remove", strings.Join(others, ", "))
		}
		from, err := etcd.Open(ctx, etcd.Config{Client: m.Client(), Prefix: cp.options.Datastore.Prefix, Compaction: -1})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, from.Close()) }()
		return copyState(ctx, from, dir, o)
	})
}

// copyEntries is how many entries are made durable together.
const copyEntries = 1000

// copyState writes to a new store what a server on etcd shows: what others have put there for themselves stays behind.
func copyState(ctx context.Context, from *etcd.Log, dir string, o store.Options) (err error) {
	revision, err := from.Revision(ctx)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	l, err := pebble.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	var batch []log.Entry
	_, err = from.Read(ctx, o.Root, revision, func(e log.Entry) error {
		ours, err := store.Adopts(e, o)
		if err != nil || !ours {
			return err
		}
		e.Value = bytes.Clone(e.Value)
		if batch = append(batch, e); len(batch) < copyEntries {
			return nil
		}
		err = l.Append(revision, batch)
		batch = batch[:0]
		return err
	})
	if err != nil {
		return err
	}
	return l.Append(revision, batch)
}
