package shim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"
)

func TestCgroupMounts(t *testing.T) {
	paths := map[string]string{"cpu": "/sys/fs/cgroup/cpu/pod/c", "pids": "/sys/fs/cgroup/pids/pod/c", "name=systemd": "/sys/fs/cgroup/systemd/pod/c"}
	hierarchy := func(name string, subsystems ...string) cgroups.Mount {
		return cgroups.Mount{Mountpoint: "/sys/fs/cgroup/" + name, Root: "/", Subsystems: subsystems}
	}
	for _, tc := range []struct {
		name        string
		hierarchies []cgroups.Mount
		want        string // "": left to the library
	}{
		{"one controller each", []cgroups.Mount{hierarchy("cpu", "cpu"), hierarchy("pids", "pids")},
			"tmpfs tmpfs /cg; bind /sys/fs/cgroup/cpu/pod/c /cg/cpu ro; bind /sys/fs/cgroup/pids/pod/c /cg/pids ro"},
		{"named", []cgroups.Mount{hierarchy("systemd", "systemd")}, "tmpfs tmpfs /cg; bind /sys/fs/cgroup/systemd/pod/c /cg/systemd ro"},
		{"two controllers together", []cgroups.Mount{hierarchy("cpu,cpuacct", "cpu", "cpuacct")}, ""},
		{"one that the container has no place in", []cgroups.Mount{hierarchy("cpu", "cpu"), hierarchy("misc", "misc")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := &configs.Mount{Device: "cgroup", Source: "cgroup", Destination: "/cg", Flags: unix.MS_RDONLY}
			mounts, _ := cgroupMounts(asked, tc.hierarchies, paths)
			var got []string
			for _, m := range mounts {
				line := fmt.Sprintf("%s %s %s", m.Device, m.Source, m.Destination)
				if m.Flags&unix.MS_RDONLY != 0 {
					line += " ro"
				}
				got = append(got, line)
			}
			if s := strings.Join(got, "; "); s != tc.want {
				t.Errorf("got  %s\nwant %s", s, tc.want)
			}
		})
	}
}
