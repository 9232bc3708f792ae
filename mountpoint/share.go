package mountpoint

import (
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Share makes dir a place in which mounts that containers make appear on the host too: drivers run in containers, and
// mount what they provide below it. On most machines all is shared; on others dir becomes a mount of its own.
func Share(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("create the directory that plug-ins share: %w", err)
	}
	mount, err := mountOf(dir)
	if err != nil {
		return err
	}
	if strings.Contains(" "+mount.Optional, " shared:") {
		return nil
	}
	if mount.Mountpoint != dir {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("make %s a mount of its own: %w", dir, err)
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share what is mounted below %s: %w", dir, err)
	}
	return nil
}

// mountOf returns the mount that path lies on.
func mountOf(path string) (*mountinfo.Info, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return nil, fmt.Errorf("read the table of mounts: %w", err)
	}
	var best *mountinfo.Info
	for _, m := range mounts { // of several on one place, the last one shows
		if best == nil || len(m.Mountpoint) >= len(best.Mountpoint) {
			best = m
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%s lies on no mount that this process can see", path)
	}
	return best, nil
}
