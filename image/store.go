// Package image keeps container images on a node: it pulls them from registries, imports and exports
// archives, and gives containers their root file systems as overlay mounts.
//
// On disk, below one folder:
//
//	index.json        image ID → names, manifest, layers; replaced atomically, the only truth
//	blobs/sha256/     manifests, configurations and layers as they were transferred
//	layers/           each layer's content, once, named by the digest of its tar stream (diff ID)
//	snapshots/        one folder per container: upper and work directory, mount point, what it is made of
//	tmp/              what is being written; anything in it after a crash is garbage
//	lock, index.lock  see below
//
// A blob or layer gets its final name only when it is complete, verified and on disk, and the index names
// only such: after a crash at any instant everything that the index names is whole.
//
// Several processes may use one folder at the same time, such as an agent and `clipper image import`.
// index.lock is held for the moment of changing the index. lock is held shared by whoever adds something
// that the index does not name yet, and exclusively by the garbage collection, which runs only when it gets
// it at once. Lock order: lock, then index.lock.
package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"clipper/image/registry"
	"clipper/image/unpack"
	"clipper/node/runtime"
)

// Options configure a Store.
type Options struct {
	// Dir is the folder, made if missing.
	Dir string
	// Owner separates the snapshots of several nodes that share one Dir, as the nodes of a local cluster
	// do. Default "node".
	Owner string
	// Registries says how registries are reached. nil: HTTPS, plain HTTP on loopback, no mirrors.
	Registries *registry.Config
	// VerifierDir is a folder of programs that decide which images may be pulled; "" for none.
	VerifierDir string
	// Limits bound the unpacking of a layer.
	Limits unpack.Limits
	Log    *slog.Logger // default slog.Default()
}

// NodeOptions are those of the node whose data directory is dataDir: images in its folder images, hosts.toml files in
// registries and in /etc/clipper/registries, programs that verify images in image-verifiers.
func NodeOptions(dataDir string) Options {
	return Options{
		Dir:         filepath.Join(dataDir, "images"),
		Registries:  &registry.Config{HostsDirs: []string{filepath.Join(dataDir, "registries"), "/etc/clipper/registries"}},
		VerifierDir: filepath.Join(dataDir, "image-verifiers"),
	}
}

// A Store is the images of a node. Its methods may be called concurrently.
type Store struct {
	dir      string
	owner    string
	fetcher  *registry.Fetcher
	limits   unpack.Limits
	log      *slog.Logger
	unpacked keyedMutex // by diff ID: one unpacking of a layer at a time

	verifiers verifiers
	atOnce    int               // layers of one image
	step      func(name string) // called between steps of an addition, for tests of crashes

	mu     sync.Mutex
	loaded *index
	stamp  stamp
}

var _ runtime.Images = (*Store)(nil)

// Open prepares the folder and removes what an earlier process left half done.
func Open(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("image store: no directory given")
	}
	if o.Owner == "" {
		o.Owner = "node"
	}
	if strings.ContainsAny(o.Owner, "/\x00") || o.Owner == "." || o.Owner == ".." {
		return nil, fmt.Errorf("image store: owner %q is not a plain name", o.Owner)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	s := &Store{dir: dir, owner: o.Owner, fetcher: registry.New(o.Registries), limits: o.Limits, log: o.Log,
		verifiers: verifiers(o.VerifierDir), atOnce: max(3, goruntime.GOMAXPROCS(0)), step: func(string) {}}
	for _, d := range []string{s.path("blobs", "sha256"), s.path("layers"), s.path("tmp"), s.path("empty"), s.snapshotsDir()} {
		if err := os.MkdirAll(d, 0o711); err != nil { // containers of other users pass through, nobody lists
			return nil, fmt.Errorf("image store: %w; give a data directory that root can write", err)
		}
	}
	if _, err := s.index(); err != nil {
		return nil, err
	}
	if err := s.CollectGarbage(); err != nil {
		return nil, fmt.Errorf("image store: clean up: %w", err)
	}
	return s, nil
}

// Dir returns the store's folder.
func (s *Store) Dir() string { return s.dir }

func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.dir}, parts...)...)
}

func (s *Store) blobPath(digest string) string {
	return s.path("blobs", "sha256", strings.TrimPrefix(digest, "sha256:"))
}

func (s *Store) layerPath(diffID string) string {
	return s.path("layers", strings.TrimPrefix(diffID, "sha256:"))
}

// index returns the current index, read again only if another process replaced it.
func (s *Store) index() (*index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.path("index.json")
	now, err := stampOf(path)
	if err != nil {
		return nil, fmt.Errorf("image index: %w", err)
	}
	if s.loaded != nil && now == s.stamp {
		return s.loaded, nil
	}
	ix, err := readIndex(path)
	if err != nil {
		return nil, err
	}
	// The stamp is older than or as old as the content: at worst the file is read once more.
	s.loaded, s.stamp = ix, now
	return ix, nil
}

func stampOf(path string) (stamp, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return stamp{}, nil
	}
	if err != nil {
		return stamp{}, err
	}
	return stamp{inode: st.Ino, size: st.Size, mtime: timeOf(st.Mtim)}, nil
}

// change replaces the index by what fn makes of the current one. fn returning nil changes nothing.
func (s *Store) change(fn func(*index) (*index, error)) error {
	unlock, err := s.flock("index.lock", unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	ix, err := s.index()
	if err != nil {
		return err
	}
	next, err := fn(ix)
	if err != nil || next == nil {
		return err
	}
	if err := next.write(s.path("index.json")); err != nil {
		return fmt.Errorf("write image index: %w", err)
	}
	return nil
}

// adding must be held while there is something in the folder that the index or a snapshot does not name
// yet but soon will.
func (s *Store) adding() (release func(), err error) { return s.flock("lock", unix.LOCK_SH) }

// errBusy: another process or goroutine holds the lock.
var errBusy = errors.New("locked")

// flock takes a lock that ends with the process. Every call opens the file anew, so it also excludes other
// goroutines.
func (s *Store) flock(name string, how int) (release func(), err error) {
	f, err := os.OpenFile(s.path(name), os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errBusy
		}
		return nil, fmt.Errorf("lock image store: %w", err)
	}
	return func() { f.Close() }, nil
}

// A keyedMutex is a mutex per key.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits for key, or for ctx.
func (k *keyedMutex) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		busy := k.held[key]
		if busy == nil {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			free := make(chan struct{})
			k.held[key] = free
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(free)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
