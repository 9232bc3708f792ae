package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"

	"clipper/apiserver/presence"
	"clipper/pki"
	"clipper/store"
	"clipper/store/log"
	"clipper/store/log/etcd"
	"clipper/store/log/pebble"
)

// departureFile exists while a server takes its state to an etcd cluster of the user's. It names the attempt: the same
// name in etcd says how far it is. A server that runs on its own store again has given up.
const departureFile = "datastore-departure"

// fillingKey is where etcd says who has filled it.
func fillingKey(root string) string { return "/clipper" + root + "filling" }

// has says whether the data directory has a state of this sort.
func (cp *controlPlane) has(dir string) (bool, error) {
	_, err := os.Stat(filepath.Join(cp.options.Node.DataDir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// toServers makes the state of a server that ran alone that of an etcd cluster of the user's, which must have none.
// Everything gets a later revision than it had. A kill at any moment is made good by the next start.
func (cp *controlPlane) toServers(ctx context.Context, config etcd.Config, o store.Options) (err error) {
	dataDir := cp.options.Node.DataDir
	own := filepath.Join(dataDir, storeDir)
	if cp.options.Datastore.Join != "" {
		return fmt.Errorf("%s holds the state of a server that ran alone, and --join enters another cluster: move it away, or give another --data-dir", own)
	}
	if err := samePlace(o); err != nil {
		return err
	}
	slog.Info("taking the datastore to etcd; the server is not available meanwhile", "from", own, "to", config.Endpoints)
	id, err := departure(filepath.Join(dataDir, departureFile))
	if err == nil {
		err = fill(ctx, config, own, id, o)
	}
	if errors.Is(err, etcd.ErrNotEmpty) {
		return fmt.Errorf("%s holds the state of a server that ran alone, and etcd another one: %w; move the former away, or remove the latter with etcdctl del --prefix %s", own, err, o.Root)
	}
	if err != nil {
		return fmt.Errorf("convert %s: %w; it is as it was", own, err)
	}
	kept := fmt.Sprintf("%s.until-%s", own, time.Now().UTC().Format("20060102t150405"))
	if err := errors.Join(os.Rename(own, kept), syncDir(dataDir)); err != nil {
		return fmt.Errorf("finish the conversion of the datastore in %s: %w", dataDir, err)
	}
	slog.Info("datastore converted; the old one can be removed", "old", kept)
	return cp.stay()
}

// departure returns the name of the attempt that is under way, or of a new one.
func departure(file string) (string, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		id := string(uuid.NewUUID())
		return id, pki.WriteFile(file, []byte(id))
	}
	return strings.TrimSpace(string(text)), err
}

// stay ends an attempt to leave the own store, if there is one: what happens from now on is not in etcd.
func (cp *controlPlane) stay() error {
	dir := cp.options.Node.DataDir
	err := os.Remove(filepath.Join(dir, departureFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(dir))
}

// samePlace refuses a conversion that would change keys: encryption may bind a value to its key.
func samePlace(o store.Options) error {
	if o.Root != store.DefaultRoot {
		return fmt.Errorf("--etcd-prefix %s: a datastore can be converted with %s only", o.Root, store.DefaultRoot)
	}
	return nil
}

// fill puts the state in a directory into etcd.
func fill(ctx context.Context, config etcd.Config, dir, id string, o store.Options) (err error) {
	from, err := pebble.Open(dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	revision, err := from.Revision()
	if err != nil {
		return err
	}
	to, err := etcd.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return to.Fill(ctx, etcd.Filling{ID: id, Mark: fillingKey(o.Root), Revision: revision, Read: func(fn func(log.Change) error) error {
		_, err := from.Load(func(e log.Entry) error {
			return fn(log.Change{Key: e.Key, Value: e.Value, TTL: o.TimeToLive(e.Key)})
		})
		return err
	}})
}

// fromServers makes the state in an etcd cluster of the user's that of a server that runs alone. It stays in etcd, too.
func (cp *controlPlane) fromServers(ctx context.Context, config etcd.Config, o store.Options) (err error) {
	if err := samePlace(o); err != nil {
		return err
	}
	from, err := etcd.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if _, err := cp.claim(ctx, from, o.Root); err != nil {
		return err
	}
	if err := cp.alone(ctx, from, o.Root); err != nil {
		return err
	}
	if err := cp.openEncryption(ctx, true); err != nil {
		return err
	}
	o.Sealer = cp.encryption
	c := conversion{dataDir: cp.options.Node.DataDir, from: memberDir, to: storeDir}
	return c.run(func(dir string) error { return copyState(ctx, from, dir, o) })
}

// alone returns an error if other servers run on a state: what they write would be lost.
func (cp *controlPlane) alone(ctx context.Context, l *etcd.Log, root string) error {
	var others []string
	_, err := l.Read(ctx, root+presence.MasterLeases+"/", 0, func(e log.Entry) error {
		if address := path.Base(e.Key); address != cp.advertise.Addr().String() {
			others = append(others, address)
		}
		return nil
	})
	if err == nil && len(others) > 0 {
		err = fmt.Errorf("--cluster-end: other servers run on this etcd, at %s; stop them first, and wait %v", strings.Join(others, ", "), presence.MasterLeaseTTL)
	}
	return err
}
