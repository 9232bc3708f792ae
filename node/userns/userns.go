// Package userns gives pods user namespaces of their own (spec.hostUsers: false): who is root in such a pod is
// nobody in particular on the machine, and no two pods share IDs. Package ranges hands out the IDs.
// MakeNetwork makes a pod's user namespace, with the
// network namespace that belongs to it and keeps it alive; whoever holds the latter finds the former by OwnerOf.
package userns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// IDs maps the users and groups of a pod, from 0 on, to as many of the machine's, from Host on.
type IDs struct {
	Host   uint32 `json:"host"`
	Length uint32 `json:"length"`
}

// Passage is a folder that every user of the machine may pass through, unlike a node's data directory. What a
// pod's own root must be able to reach by name lies there.
const Passage = "/run/clipper"

// MakePassage makes a folder below Passage, or finds it.
func MakePassage(name string) (string, error) {
	dir := filepath.Join(Passage, name)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	for _, d := range []string{Passage, dir} { // whatever our umask
		if err := os.Chmod(d, 0o711); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// MakeNetwork makes a user namespace with a network namespace, and mounts the latter at path.
func MakeNetwork(path string, ids IDs) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	return within(ids, unix.CLONE_NEWNET, func(pid int) error {
		if err := unix.Mount(fmt.Sprintf("/proc/%d/ns/net", pid), path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount network namespace at %s: %w", path, err)
		}
		return nil
	})
}

// within calls fn with a process that is in a new user namespace and in others that belong to it. Only a process
// can make one, and not one of several threads. It is this program again, stopped before its first instruction.
func within(ids IDs, others uintptr, fn func(pid int) error) error {
	runtime.LockOSThread() // the tracer is a thread
	defer runtime.UnlockOSThread()
	mapping := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(ids.Host), Size: int(ids.Length)}}
	p, err := os.StartProcess("/proc/self/exe", []string{"userns"}, &os.ProcAttr{Dir: "/", Sys: &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | others, UidMappings: mapping, GidMappings: mapping,
		GidMappingsEnableSetgroups: true, Ptrace: true, Pdeathsig: syscall.SIGKILL,
	}})
	if err != nil {
		return fmt.Errorf("make user namespace for IDs %d+%d: %w", ids.Host, ids.Length, err)
	}
	defer func() {
		_ = p.Kill()
		_, _ = p.Wait()
	}()
	return fn(p.Pid)
}

// OwnerOf returns the user namespace that the namespace mounted at path belongs to.
func OwnerOf(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_USERNS)
	if err != nil {
		return nil, fmt.Errorf("user namespace of %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), "user namespace of "+path), nil
}

// Supported reports whether the kernel shows files of the usual kinds to user namespaces by mapped owners:
// memory file systems, which secrets lie in, came last, with Linux 6.3.
func Supported() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor); err != nil {
		return false
	}
	most, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
	return err == nil && string(most) != "0\n" && (major > 6 || major == 6 && minor >= 3)
}
