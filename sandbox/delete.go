package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Delete removes every trace of the sandbox: processes, namespaces, mounts, cgroups, files. A sandbox that
// does not exist is no error.
func (s Sandbox) Delete() error {
	if err := preflight(); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	if !s.exists() {
		return errors.Join(s.killAll(), s.removeCgroups())
	}
	unlock, err := s.lock()
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	defer unlock()
	return s.destroy()
}

// destroy needs the lock. Its order matters: processes hold cgroups and mounts, mounts hold namespaces, and
// no file is removed while something is mounted below the directory, for that could be anybody's files.
func (s Sandbox) destroy() error {
	for _, step := range []func() error{
		s.killAll,
		s.unmountAll,
		s.removeCgroups,
		func() error { return os.RemoveAll(s.dir) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("delete sandbox %s: %w", s.Name, err)
		}
	}
	for dir := filepath.Dir(s.dir); dir != "/" && dir != "/var/lib"; dir = filepath.Dir(dir) {
		if os.Getenv(DirEnv) != "" || os.Remove(dir) != nil { // not empty, or the user's own directory
			break
		}
	}
	return nil
}

// A mount is a line of mountinfo at or below the sandbox's directory, or a file system of a container that is
// mounted elsewhere and writes there: that of a pod with a user namespace.
type mount struct {
	path string
	ns   string // "net:[4026532001]" for a network namespace
}

func (s Sandbox) mounts() ([]mount, error) {
	table, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		inside := i.Mountpoint == s.dir || strings.HasPrefix(i.Mountpoint, s.dir+"/")
		return !inside && !strings.Contains(i.VFSOptions, ",upperdir="+s.dir+"/"), false
	})
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var out []mount
	for _, i := range table {
		m := mount{path: i.Mountpoint}
		if strings.HasPrefix(i.Root, "net:[") {
			m.ns = i.Root
		}
		out = append(out, m)
	}
	return out, nil
}

// killDeadline is how long processes get to vanish after SIGKILL. Only one stuck in the kernel needs it.
const killDeadline = 10 * time.Second

// killAll ends every process of the sandbox: those in a network namespace that is mounted below its
// directory and those in its cgroups. What is killed may have started or mounted something a moment before,
// so it is done when it finds nothing twice in a row.
func (s Sandbox) killAll() error {
	const clean = 2
	spared, found := ancestors(), 0
	for deadline := time.Now().Add(killDeadline); found < clean; {
		pids, err := s.processes(spared)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			found++
			continue
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end after SIGKILL", pids)
		}
		found = 0
		for _, pid := range pids {
			_ = unix.Kill(pid, unix.SIGKILL) // gone already is as good
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// ancestors are this process and those it came from: the delete may run inside the sandbox.
func ancestors() map[int]bool {
	out := map[int]bool{}
	for pid := os.Getpid(); pid > 1 && !out[pid]; {
		out[pid] = true
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			break
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) < 2 {
			break
		}
		pid, _ = strconv.Atoi(fields[1])
	}
	return out
}

func (s Sandbox) processes(spared map[int]bool) ([]int, error) {
	mounts, err := s.mounts()
	if err != nil {
		return nil, err
	}
	namespaces := map[string]bool{}
	for _, m := range mounts {
		if m.ns != "" {
			namespaces[m.ns] = true
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || spared[pid] {
			continue
		}
		ns, err := os.Readlink(filepath.Join("/proc", e.Name(), "ns/net"))
		if err != nil {
			continue // it has ended
		}
		if namespaces[ns] || s.inCgroup(e.Name()) {
			out = append(out, pid)
		}
	}
	return out, nil
}

func (s Sandbox) inCgroup(pid string) bool {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		_, path, _ := strings.Cut(rest, ":")
		if path == s.cgroup() || strings.HasPrefix(path, s.cgroup()+"/") {
			return true
		}
	}
	return false
}

// unmountAll detaches everything mounted below the directory, deepest first, and makes sure of it.
func (s Sandbox) unmountAll() error {
	const passes = 5 // a mount may have been hidden by another
	for range passes {
		mounts, err := s.mounts()
		if err != nil || len(mounts) == 0 {
			return err
		}
		slices.Reverse(mounts) // mountinfo is in the order of mounting
		var errs []error
		for _, m := range mounts {
			if err := unix.Unmount(m.path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				errs = append(errs, fmt.Errorf("unmount %s: %w", m.path, err))
			}
			if !strings.HasPrefix(m.path, s.dir) {
				_ = os.Remove(m.path) // a mount point of its own, empty now
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	mounts, err := s.mounts()
	if err == nil && len(mounts) > 0 {
		err = fmt.Errorf("%s stays mounted", mounts[0].path)
	}
	return err
}

// removeCgroups removes the sandbox's cgroups from every hierarchy, v1 or v2.
func (s Sandbox) removeCgroups() error {
	const mountpoint = "/sys/fs/cgroup"
	hierarchies := []string{mountpoint}
	entries, err := os.ReadDir(mountpoint)
	if err != nil {
		return nil // no cgroups, nothing to remove
	}
	for _, e := range entries {
		hierarchies = append(hierarchies, filepath.Join(mountpoint, e.Name()))
	}
	var errs []error
	for _, h := range hierarchies {
		errs = append(errs, removeCgroup(filepath.Join(h, s.cgroup())))
		_ = os.Remove(filepath.Join(h, filepath.Dir(s.cgroup()))) // if it was the last sandbox
		_ = os.Remove(filepath.Join(h, "clipper"))
	}
	return errors.Join(errs...)
}

// removeCgroup removes dir and all below. A cgroup is busy for a moment after its last process has ended.
func removeCgroup(dir string) error {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var dirs []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // what vanishes meanwhile is what we want
		})
		if err != nil || len(dirs) == 0 {
			return err
		}
		slices.Reverse(dirs)
		for _, d := range dirs {
			if e := os.Remove(d); e != nil && !errors.Is(e, os.ErrNotExist) {
				err = e
			}
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
}
