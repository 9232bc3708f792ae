package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unknownExit is the code of a process whose end nobody saw.
const unknownExit = 137

// pidfdInfo is struct pidfd_info of linux/pidfd.h, in its first published size.
type pidfdInfo struct {
	Mask, CgroupID                                   uint64
	Pid, Tgid, Ppid                                  uint32
	RUID, RGID, EUID, EGID, SUID, SGID, FSUID, FSGID uint32
	ExitCode                                         int32
}

const (
	pidfdInfoExit = 1 << 3
	// _IOWR(0xFF, 11, struct pidfd_info)
	pidfdGetInfo = 3<<30 | unsafe.Sizeof(pidfdInfo{})<<16 | 0xFF<<8 | 11
)

// exitStatus asks the kernel how the process of pidfd ended. It works for processes that are no children of
// ours, once their parent has reaped them, on Linux 6.15 and later.
func exitStatus(pidfd int) (unix.WaitStatus, bool) {
	info := pidfdInfo{Mask: pidfdInfoExit}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if errno != 0 || info.Mask&pidfdInfoExit == 0 {
		return 0, false
	}
	return unix.WaitStatus(info.ExitCode), true
}

// zombieStatus reads how pid ended, while its parent has not reaped it yet.
func zombieStatus(pid int) (unix.WaitStatus, bool) {
	fields, err := statOf(pid)
	const state, exitCode = 3 - 3, 52 - 3 // as proc_pid_stat(5) counts, from the one after the command
	if err != nil || len(fields) <= exitCode || string(fields[state]) != "Z" {
		return 0, false
	}
	status, err := strconv.ParseUint(string(fields[exitCode]), 10, 32)
	return unix.WaitStatus(status), err == nil
}

// openPidfd opens the process pid if it is still the one that started at startTime.
func openPidfd(pid int, startTime uint64) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, os.NewSyscallError("pidfd_open", err)
	}
	// Read after opening: the descriptor pins whichever process it is that we compare.
	st, err := startTimeOf(pid)
	if err != nil || startTime != 0 && st != startTime {
		unix.Close(fd)
		return -1, fmt.Errorf("process %d: %w", pid, errors.Join(unix.ESRCH, err))
	}
	return fd, nil
}

// awaitExit waits until a killed process has ended: it leaves its cgroup's list before that.
func awaitExit(pid int, startTime uint64) error {
	fd, err := openPidfd(pid, startTime)
	if err != nil {
		return nil // gone
	}
	defer unix.Close(fd)
	for deadline := time.Now().Add(killWait); ; {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(time.Until(deadline).Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return fmt.Errorf("process %d is still there %v after SIGKILL", pid, killWait)
		default:
			return nil
		}
	}
}

// startTimeOf returns when pid started, in clock ticks since boot: with the pid, a process's identity.
func startTimeOf(pid int) (uint64, error) {
	fields, err := statOf(pid)
	if err != nil {
		return 0, err
	}
	const startTime = 22 - 3
	if len(fields) <= startTime {
		return 0, fmt.Errorf("/proc/%d/stat: too few fields", pid)
	}
	return strconv.ParseUint(string(fields[startTime]), 10, 64)
}

// statOf returns the fields of /proc/pid/stat that follow the command, the second, which may hold spaces and
// parentheses itself.
func statOf(pid int) ([][]byte, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	return bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]), nil
}

// exitCode translates a wait status as shells and kubelets do: 128+n when killed by signal n.
func exitCode(ws unix.WaitStatus) (code, signal int) {
	if ws.Signaled() {
		return 128 + int(ws.Signal()), int(ws.Signal())
	}
	return ws.ExitStatus(), 0
}

// waitStatus is the wait status in state.
func waitStatus(state *os.ProcessState) unix.WaitStatus {
	return unix.WaitStatus(state.Sys().(syscall.WaitStatus))
}

// pidfdTellsExit reports whether this kernel tells exit codes of processes that are not our children.
var pidfdTellsExit = sync.OnceValue(func() bool { return kernelAtLeast(6, 15) })

// kernelAtLeast reports whether the running kernel is major.minor or newer.
func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
}
