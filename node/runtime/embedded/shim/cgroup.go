package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	_ "github.com/opencontainers/cgroups/devices" // lets the managers set device rules
	"github.com/opencontainers/cgroups/manager"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// podCgroup returns the manager of a cgroup that only has children.
func podCgroup(path string, r *specs.LinuxResources) (cgroups.Manager, *cgroups.Resources, error) {
	resources := &cgroups.Resources{SkipDevices: true}
	if r != nil {
		if err := setResources(resources, r); err != nil {
			return nil, nil, err
		}
	}
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: resources})
	if err != nil {
		return nil, nil, fmt.Errorf("cgroup %s: %w", path, err)
	}
	return m, resources, nil
}

// setPodCgroup makes the cgroup and its parents, where they are not there yet, and sets its limits.
func setPodCgroup(path string, r *specs.LinuxResources) error {
	m, resources, err := podCgroup(path, r)
	if err != nil {
		return err
	}
	if err := m.Apply(-1); err != nil {
		return fmt.Errorf("create cgroup %s: %w", path, err)
	}
	if err := m.Set(resources); err != nil {
		return fmt.Errorf("set limits of cgroup %s: %w", path, err)
	}
	return nil
}

// removePodCgroup removes the cgroup with everything below it. Nothing runs in it any more.
func removePodCgroup(path string) error {
	m, _, err := podCgroup(path, nil)
	if err != nil {
		return err
	}
	return m.Destroy()
}

// killCgroup kills every process in the cgroup at path and below, and returns when none is left.
func killCgroup(path string) error {
	if path == "" || path == "/" {
		return fmt.Errorf("refusing to kill all of cgroup %q", path)
	}
	m, _, err := podCgroup(path, nil)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(killWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		left, err := killOnce(m)
		if err != nil || left == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cgroup %s: %d processes still there %v after SIGKILL", path, left, killWait)
		}
		time.Sleep(pause)
	}
}

// killOnce kills the processes it finds and returns how many there were. Where the kernel can, it does it in
// one step, so that a process that forks all the time cannot run away.
func killOnce(m cgroups.Manager) (int, error) {
	dir := listingDir(m)
	pids, err := cgroups.GetAllPids(dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return 0, nil
	}
	if err != nil || len(pids) == 0 {
		return 0, err
	}
	// In a hybrid set-up the empty controller name is the version 2 hierarchy, which mirrors the others.
	if unified := m.Path(""); unified != "" {
		_ = os.WriteFile(filepath.Join(unified, "cgroup.kill"), []byte("1"), 0)
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL) // ESRCH: the list is older than the kill
	}
	return len(pids), nil
}

// listingDir is where a cgroup's processes are listed.
func listingDir(m cgroups.Manager) string {
	if cgroups.IsCgroup2UnifiedMode() {
		return m.Path("")
	}
	return m.Path("devices")
}

// oomKilled reports whether the kernel killed a process of the container for want of memory.
func oomKilled(path string) bool {
	if path == "" {
		return false
	}
	m, _, err := podCgroup(path, nil)
	if err != nil {
		return false
	}
	n, err := m.OOMKillCount()
	return err == nil && n > 0
}

// MoveTo moves this process to the cgroup at path, out of reach of whoever stops the agent with all of its cgroup.
func MoveTo(path string) error {
	m, _, err := podCgroup(path, nil)
	if err != nil {
		return err
	}
	return m.Apply(os.Getpid())
}
