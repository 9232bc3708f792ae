package image

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"clipper/mountpoint"
)

// mount mounts a snapshot's overlay, unless it is mounted.
func (s *Store) mount(sn Snapshot) error {
	mounted, err := mountpoint.Is(sn.Rootfs)
	if err != nil || mounted {
		return err
	}
	lower := s.lowerDirs(sn)
	if len(lower) == 0 { // an image without layers, such as "scratch"
		lower = []string{"../empty"}
	}
	work := s.snapshotPath(sn.ID, "work")
	// Left by a "volatile" mount that a power loss ended; the kernel would refuse. What the container wrote
	// is its own scratch space, which no one promised to keep.
	if err := os.RemoveAll(filepath.Join(work, "work", "incompat")); err != nil {
		return err
	}
	paths := make([]string, 0, len(lower))
	for _, l := range lower {
		paths = append(paths, s.path("layers", l))
	}
	err = mountByHandle(paths, sn.Upper, work, sn.Rootfs)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return s.mountByOptions(lower, sn.Upper, work, sn.Rootfs)
	}
	return err
}

// overlayFlags: volatile spares a container's end the sync of files that are deleted next.
var overlayFlags = []string{"volatile"}

// mountByHandle uses the new mount interface, which takes layers one by one and so any number of them. The
// attribute for that is known since Linux 6.7.
func mountByHandle(lower []string, upper, work, target string) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("fsopen overlay: %w", err)
	}
	defer unix.Close(fs)
	var handles []*os.File
	defer func() {
		for _, h := range handles {
			h.Close()
		}
	}()
	set := func(key, path string) error {
		const longest = 255 // of a string option
		if len(path) > longest {
			h, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			handles = append(handles, h)
			path = fmt.Sprintf("/proc/self/fd/%d", h.Fd())
		}
		if err := unix.FsconfigSetString(fs, key, path); err != nil {
			return fmt.Errorf("overlay option %s=%s: %w", key, path, err)
		}
		return nil
	}
	for _, l := range lower {
		if err := set("lowerdir+", l); err != nil {
			return err
		}
	}
	if err := set("upperdir", upper); err != nil {
		return err
	}
	if err := set("workdir", work); err != nil {
		return err
	}
	for _, f := range overlayFlags {
		if err := unix.FsconfigSetFlag(fs, f); err != nil {
			return fmt.Errorf("overlay option %s: %w", f, err)
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("create overlay: %w", err)
	}
	m, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("fsmount: %w", err)
	}
	defer unix.Close(m)
	if err := unix.MoveMount(m, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move mount: %w", err)
	}
	return nil
}

// mountByOptions uses mount(2), whose options must fit a page: the layers are named relative to their
// folder, on a thread of its own whose working directory that is.
func (s *Store) mountByOptions(lower []string, upper, work, target string) error {
	options := fmt.Sprintf("%s,lowerdir=%s,upperdir=%s,workdir=%s", strings.Join(overlayFlags, ","), strings.Join(lower, ":"), escape(upper), escape(work))
	if len(options) >= os.Getpagesize() {
		return fmt.Errorf("image has %d layers, more than this kernel can mount; Linux 6.7 or newer can", len(lower))
	}
	result := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and its working directory with it.
		runtime.LockOSThread()
		result <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Chdir(s.path("layers")); err != nil {
				return err
			}
			if err := unix.Mount("overlay", target, "overlay", 0, options); err != nil {
				return fmt.Errorf("mount overlay: %w", err)
			}
			return nil
		}()
	}()
	return <-result
}

// escape guards what separates mount options.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}
