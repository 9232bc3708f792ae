package shim

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/wire"
	"clipper/node/userns"
)

// separate makes the namespaces of a pod that has a user namespace. They must belong to it, and so be made by a
// process in it: the pod's init, which ends again if there is no PID namespace to keep. Threads of ours may then
// join them, though not the user namespace itself.
func (s *Server) separate(rec *wire.Sandbox) error {
	user, err := userns.OwnerOf(rec.NetNS)
	if err != nil {
		return err
	}
	defer user.Close()
	if err := holdNamespace(fmt.Sprintf("/proc/self/fd/%d", user.Fd()), rec.UserPath); err != nil {
		return err
	}
	pid, err := s.startPause(rec)
	if err != nil {
		return err
	}
	if err := setUpNamespaces(rec, func() error { return joinProcess(pid) }); err != nil {
		return err
	}
	if rec.PIDPath == "" {
		return s.stopPause(rec)
	}
	return nil
}

// joinProcess takes the thread to the UTS and IPC namespaces of a process.
func joinProcess(pid int) error {
	for name, flag := range map[string]int{"uts": unix.CLONE_NEWUTS, "ipc": unix.CLONE_NEWIPC} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
		if err != nil {
			return err
		}
		err = unix.Setns(int(f.Fd()), flag)
		f.Close()
		if err != nil {
			return fmt.Errorf("join %s namespace of the pod's init: %w", name, err)
		}
	}
	return nil
}
