package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"clipper/mountpoint"
	"clipper/node/userns"
)

// Owners say to whom the files of an image belong in a user namespace: to those who have there the IDs that the
// image gives. The layers themselves stay as they are and are shared with everyone else.
type Owners struct {
	IDs       userns.IDs
	Namespace *os.File // a user namespace that maps these IDs
}

// host returns the machine's ID of a user or group of the namespace. Without one that is the same.
func (o *Owners) host(id uint32) int {
	if o == nil || id >= o.IDs.Length {
		return int(id)
	}
	return int(o.IDs.Host + id)
}

// PrepareMapped is Prepare for a container in a user namespace. Its root file system is mounted where the
// namespace's own root can get to.
func (s *Store) PrepareMapped(ctx context.Context, id, ref string, owners Owners) (Snapshot, *v1.ConfigFile, error) {
	return s.prepare(ctx, id, ref, &owners)
}

func mappedRootfs(id string) string { return filepath.Join(userns.Passage, "rootfs", id) }

// mountMapped mounts an overlay of layers that are seen through the namespace. Linux maps owners on mounts, but
// not on overlays: each layer gets a mapped mount, which is needed no longer once the overlay holds on to it.
func (s *Store) mountMapped(sn Snapshot, owners *Owners) (err error) {
	if _, err := userns.MakePassage("rootfs"); err != nil {
		return err
	}
	if err := os.MkdirAll(sn.Rootfs, 0o755); err != nil {
		return err
	}
	if mounted, err := mountpoint.Is(sn.Rootfs); err != nil || mounted {
		return err
	}
	defer func() { err = errors.Join(err, s.unmountLayers(sn.ID)) }()
	lower := s.lowerDirs(sn)
	if len(lower) == 0 {
		lower = []string{"../empty"}
	}
	mapped := make([]string, len(lower))
	for i, l := range lower {
		mapped[i] = s.snapshotPath(sn.ID, "layers", strconv.Itoa(i))
		if err := mountLayer(s.path("layers", l), mapped[i], owners.Namespace); err != nil {
			return fmt.Errorf("show layer %s to a user namespace: %w", l, err)
		}
	}
	return mountByHandle(mapped, sn.Upper, s.snapshotPath(sn.ID, "work"), sn.Rootfs)
}

// mountLayer mounts the directory layer at target, its files' owners seen through the namespace.
func mountLayer(layer, target string, namespace *os.File) error {
	if err := os.MkdirAll(target, 0o700); err != nil {
		return err
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, layer, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(namespace.Fd())}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// unmountLayers removes the mounts that the overlay was made from.
func (s *Store) unmountLayers(id string) error {
	dir := s.snapshotPath(id, "layers")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := mountpoint.Unmount(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// unmountMapped undoes mountMapped, if it was done.
func (s *Store) unmountMapped(id string) error {
	root := mappedRootfs(id)
	if err := errors.Join(s.unmountLayers(id), mountpoint.Unmount(root)); err != nil {
		return err
	}
	if err := os.Remove(root); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
