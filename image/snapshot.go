package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"clipper/diskusage"
	"clipper/mountpoint"
	"clipper/node/runtime"
)

// A Snapshot is the root file system of one container: an image's layers with a writable one above.
type Snapshot struct {
	ID       string    `json:"id"` // the container's
	ImageID  string    `json:"imageID"`
	Image    string    `json:"image"`  // as asked for
	Layers   []string  `json:"layers"` // diff IDs, lowest first
	Created  time.Time `json:"created"`
	Rootfs   string    `json:"-"` // mount point
	Upper    string    `json:"-"` // writable layer
	Manifest string    `json:"manifest"`
	Mapped   bool      `json:"mapped,omitempty"` // for a user namespace
}

// Usage is what a container has written to its root file system.
type Usage = diskusage.Usage

func (s *Store) snapshotsRoot() string { return s.path("snapshots") }
func (s *Store) snapshotsDir() string  { return s.path("snapshots", s.owner) }
func (s *Store) snapshotPath(p ...string) string {
	return filepath.Join(append([]string{s.snapshotsDir()}, p...)...)
}

// Prepare mounts the root file system of container id, made from the image ref, and returns it with the
// image's configuration. Called again for the same id it returns the same, mounted again if need be: after
// a restart of the machine the mount is gone and the written files are not.
func (s *Store) Prepare(ctx context.Context, id, ref string) (Snapshot, *v1.ConfigFile, error) {
	return s.prepare(ctx, id, ref, nil)
}

func (s *Store) prepare(ctx context.Context, id, ref string, owners *Owners) (Snapshot, *v1.ConfigFile, error) {
	if err := checkID(id); err != nil {
		return Snapshot{}, nil, err
	}
	sn, config, err := s.record(ctx, id, ref, owners)
	if err != nil {
		return Snapshot{}, nil, fmt.Errorf("prepare root file system of container %s: %w", id, err)
	}
	if owners != nil {
		err = s.mountMapped(sn, owners)
	} else {
		err = s.mount(sn)
	}
	if err != nil {
		return Snapshot{}, nil, fmt.Errorf("mount root file system of container %s from image %q: %w", id, ref, err)
	}
	return sn, config, nil
}

// record writes down what the snapshot is made of. From then on its layers are safe from collection.
func (s *Store) record(_ context.Context, id, ref string, owners *Owners) (Snapshot, *v1.ConfigFile, error) {
	release, err := s.adding()
	if err != nil {
		return Snapshot{}, nil, err
	}
	defer release()
	rec, err := s.lookup(ref)
	if err != nil {
		return Snapshot{}, nil, err
	}
	config, err := s.config(rec)
	if err != nil {
		return Snapshot{}, nil, err
	}
	if sn, err := s.Snapshot(id); err == nil {
		return sn, config, nil
	}
	sn := Snapshot{ID: id, ImageID: rec.ID, Image: ref, Manifest: rec.Manifest, Created: time.Now(), Mapped: owners != nil}
	for _, l := range rec.Layers {
		sn.Layers = append(sn.Layers, l.DiffID)
	}
	for _, d := range []string{"upper", "work", "rootfs"} {
		if err := os.MkdirAll(s.snapshotPath(id, d), 0o755); err != nil {
			return Snapshot{}, nil, err
		}
	}
	if err := s.inheritRoot(sn, owners); err != nil {
		return Snapshot{}, nil, err
	}
	b, err := json.Marshal(sn)
	if err != nil {
		return Snapshot{}, nil, err
	}
	// Not synced: after a power loss no container of before runs, and List drops what it cannot read.
	tmp := s.snapshotPath(id, ".snapshot.json")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return Snapshot{}, nil, err
	}
	if err := os.Rename(tmp, s.snapshotPath(id, "snapshot.json")); err != nil {
		return Snapshot{}, nil, err
	}
	return s.located(sn), config, nil
}

// inheritRoot gives the upper directory owner and mode of the image's root, which the mount shows as "/".
func (s *Store) inheritRoot(sn Snapshot, owners *Owners) error {
	if len(sn.Layers) == 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(s.layerPath(sn.Layers[len(sn.Layers)-1]), &st); err != nil {
		return fmt.Errorf("layer %s is missing: %w; remove and import or pull the image again", sn.Layers[len(sn.Layers)-1], err)
	}
	upper := s.snapshotPath(sn.ID, "upper")
	return errors.Join(unix.Chown(upper, owners.host(st.Uid), owners.host(st.Gid)), unix.Chmod(upper, st.Mode&0o7777))
}

func (s *Store) located(sn Snapshot) Snapshot {
	sn.Rootfs, sn.Upper = s.snapshotPath(sn.ID, "rootfs"), s.snapshotPath(sn.ID, "upper")
	if sn.Mapped {
		sn.Rootfs = mappedRootfs(sn.ID)
	}
	return sn
}

// Snapshot returns the snapshot of a container, or runtime.ErrNotFound.
func (s *Store) Snapshot(id string) (Snapshot, error) {
	if err := checkID(id); err != nil {
		return Snapshot{}, err
	}
	sn, err := readSnapshot(s.snapshotPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return Snapshot{}, fmt.Errorf("root file system of container %s: %w", id, runtime.ErrNotFound)
	}
	return s.located(sn), err
}

func readSnapshot(dir string) (Snapshot, error) {
	b, err := os.ReadFile(filepath.Join(dir, "snapshot.json"))
	if err != nil {
		return Snapshot{}, err
	}
	var sn Snapshot
	if err := json.Unmarshal(b, &sn); err != nil {
		return Snapshot{}, fmt.Errorf("read %s: %w", dir, err)
	}
	return sn, nil
}

// RemoveSnapshot unmounts and deletes a container's root file system. It is no error if there is none.
func (s *Store) RemoveSnapshot(_ context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	dir := s.snapshotPath(id)
	if !exists(dir) {
		return nil
	}
	if err := errors.Join(mountpoint.Unmount(filepath.Join(dir, "rootfs")), s.unmountMapped(id)); err != nil {
		return fmt.Errorf("unmount root file system of container %s: %w", id, err)
	}
	// Without its description it is garbage for every reader, should the removal be interrupted.
	if err := os.Remove(filepath.Join(dir, "snapshot.json")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove root file system of container %s: %w", id, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove root file system of container %s: %w", id, err)
	}
	return nil
}

// ListSnapshots returns this owner's snapshots, also those that no container belongs to any more. The
// runtime removes those it does not know: after a kill between Prepare and its own note there may be one.
func (s *Store) ListSnapshots() ([]Snapshot, error) {
	entries, err := os.ReadDir(s.snapshotsDir())
	if err != nil {
		return nil, fmt.Errorf("list root file systems: %w", err)
	}
	var out []Snapshot
	for _, e := range entries {
		sn, err := readSnapshot(s.snapshotPath(e.Name()))
		if err != nil {
			sn = Snapshot{} // half made or half removed: only its ID is known
		}
		sn.ID = e.Name()
		out = append(out, s.located(sn))
	}
	return out, nil
}

// RetainSnapshots removes every snapshot that keep does not name.
func (s *Store) RetainSnapshots(ctx context.Context, keep func(id string) bool) error {
	all, err := s.ListSnapshots()
	if err != nil {
		return err
	}
	var errs []error
	for _, sn := range all {
		if !keep(sn.ID) {
			errs = append(errs, s.RemoveSnapshot(ctx, sn.ID))
		}
	}
	return errors.Join(errs...)
}

// allSnapshots reads those of every owner.
func (s *Store) allSnapshots() ([]Snapshot, error) {
	dirs, err := filepath.Glob(filepath.Join(s.snapshotsRoot(), "*", "*"))
	if err != nil {
		return nil, err
	}
	var out []Snapshot
	for _, d := range dirs {
		if sn, err := readSnapshot(d); err == nil {
			out = append(out, sn)
		}
	}
	return out, nil
}

// SnapshotUsage walks the writable layer. It costs a directory walk: ask rarely.
func (s *Store) SnapshotUsage(ctx context.Context, id string) (Usage, error) {
	if err := checkID(id); err != nil {
		return Usage{}, err
	}
	return diskusage.Of(ctx, s.snapshotPath(id, "upper"))
}

// lowerDirs returns the layer directories' names, uppermost first, each once: overlayfs refuses the same
// directory twice, and below its upper occurrence the lower one cannot show.
func (s *Store) lowerDirs(sn Snapshot) []string {
	var dirs []string
	for i := len(sn.Layers) - 1; i >= 0; i-- {
		if name := filepath.Base(s.layerPath(sn.Layers[i])); !slices.Contains(dirs, name) {
			dirs = append(dirs, name)
		}
	}
	return dirs
}

func checkID(id string) error {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") || len(id) > 200 {
		return fmt.Errorf("container ID %q is not a plain name", id)
	}
	return nil
}
