// Package netns makes, enters and removes named network namespaces: a namespace has a name when it is
// bind-mounted on a file, and lives as long as that mount or a process in it.
//
// Everything here may be repeated after a crash at any instant: a file without a mount on it is a
// namespace that was never finished (or did not survive a reboot), and Create finishes it.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

const threadNS = "/proc/thread-self/ns/net"

// Exists reports whether a network namespace is mounted at path.
func Exists(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Create makes a new network namespace and mounts it at path. If there is one already it stays.
func Create(path string) error {
	if Exists(path) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create network namespace %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return fmt.Errorf("create network namespace %s: %w", path, err)
	}
	f.Close()
	if err := inNewNamespace(func() error { return unix.Mount(threadNS, path, "", unix.MS_BIND, "") }); err != nil {
		return fmt.Errorf("create network namespace %s: %w", path, err)
	}
	return nil
}

// Bind mounts the network namespace at from at path as well. One that is there already stays.
func Bind(from, path string) error {
	if Exists(path) {
		return nil
	}
	if !Exists(from) {
		return fmt.Errorf("bind network namespace: there is none at %q", from)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("bind network namespace %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE, 0o444)
	if err != nil {
		return fmt.Errorf("bind network namespace %s: %w", path, err)
	}
	f.Close()
	if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind network namespace %s at %s: %w", from, path, err)
	}
	return nil
}

// Remove unmounts and deletes path. It is no error if nothing is there. Processes inside go on, in a
// namespace without a name.
func Remove(path string) error {
	for Exists(path) { // one mount each, should a crash have left more
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("remove network namespace %s: unmount: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// Do calls fn on a thread that is in the namespace at path; "" is the caller's own. fn must not start
// goroutines that count on the namespace: they run on other threads.
func Do(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	target, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer target.Close()
	return switchedThread(func() error {
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", path, err)
		}
		return nil
	}, fn)
}

func inNewNamespace(fn func() error) error {
	return switchedThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, fn)
}

// switchedThread runs fn between enter and the way back. A thread that cannot go back is not given to
// another goroutine: it stays locked and dies with this one.
func switchedThread(enter, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open(threadNS)
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("open own network namespace: %w", err)
			return
		}
		defer home.Close()
		if err := enter(); err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		err = fn()
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
