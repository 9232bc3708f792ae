package shim

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

// spellOutCgroupMounts says of which mounts the container's view of its version 1 cgroups consists: a tmpfs and in
// it the container's own directory of each hierarchy. Left to find that out, the set-up process reads the whole
// mount table, which grows with every pod of the node: a quarter of its time with a hundred of them.
//
// The library does it for version 2, for user namespaces, and where a hierarchy holds several controllers, which
// takes symbolic links.
func spellOutCgroupMounts(config *configs.Config) error {
	at := slices.IndexFunc(config.Mounts, func(m *configs.Mount) bool { return m.Device == "cgroup" })
	if at < 0 || cgroups.IsCgroup2UnifiedMode() || config.Namespaces.Contains(configs.NEWUSER) || config.Namespaces.Contains(configs.NEWCGROUP) {
		return nil
	}
	hierarchies, err := cgroups.GetCgroupMounts(false) // read once in the shim's life
	if err != nil {
		return err
	}
	m, err := manager.New(config.Cgroups)
	if err != nil {
		return err
	}
	if spelled, ok := cgroupMounts(config.Mounts[at], hierarchies, m.GetPaths()); ok {
		config.Mounts = slices.Replace(config.Mounts, at, at+1, spelled...)
	}
	return nil
}

// cgroupMounts replaces asked, a mount of type cgroup. paths are the container's directories by controller.
func cgroupMounts(asked *configs.Mount, hierarchies []cgroups.Mount, paths map[string]string) (_ []*configs.Mount, ok bool) {
	out := []*configs.Mount{{
		Source: "tmpfs", Device: "tmpfs", Destination: asked.Destination, Data: "mode=755",
		Flags: unix.MS_NOEXEC | unix.MS_NOSUID | unix.MS_NODEV, PropagationFlags: asked.PropagationFlags,
	}}
	for _, h := range hierarchies {
		name := filepath.Base(h.Mountpoint)
		if len(h.Subsystems) != 1 || strings.Contains(name, ",") {
			return nil, false
		}
		source, ok := paths[h.Subsystems[0]]
		if !ok {
			source, ok = paths[cgroups.CgroupNamePrefix+h.Subsystems[0]]
		}
		if !ok {
			return nil, false
		}
		out = append(out, &configs.Mount{
			Device: "bind", Source: source, Destination: filepath.Join(asked.Destination, name),
			Flags: unix.MS_BIND | unix.MS_REC | asked.Flags, PropagationFlags: asked.PropagationFlags,
		})
	}
	return out, true
}
