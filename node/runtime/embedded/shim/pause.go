package shim

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/wire"
	"clipper/node/userns"
)

// pauseID names the container that is the init of a pod's shared PID namespace: this binary again, in a mode that
// only reaps, on an empty read-only root and without any privilege.
func pauseID(sandboxID string) string { return "pause-" + sandboxID }

// startPause starts it and returns its process ID. In a pod with a user namespace it also makes the namespaces
// that belong to that.
func (s *Server) startPause(rec *wire.Sandbox) (pid int, err error) {
	spec, err := s.pauseSpec(rec)
	if err != nil {
		return 0, err
	}
	config, err := s.libcontainerConfig(pauseID(rec.ID), spec)
	if err != nil {
		return 0, err
	}
	lc, err := libcontainer.Create(s.libcontainerDir(), pauseID(rec.ID), config)
	if err != nil {
		return 0, err
	}
	null, err := openFile("/dev/null", unix.O_RDWR)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	process := newProcess(spec.OCI.Process)
	process.Init, process.Stdin, process.Stdout, process.Stderr = true, null, null, null
	profile, err := s.defaultProfile(spec)
	if err != nil {
		return 0, errors.Join(err, lc.Destroy())
	}
	process.ExtraFiles = profile.passTo()
	if err := lc.Run(process); err != nil {
		return 0, errors.Join(fmt.Errorf("start the init of the shared PID namespace: %w", err), lc.Destroy())
	}
	if pid, err = process.Pid(); err != nil || rec.PIDPath == "" {
		return pid, err
	}
	return pid, holdNamespace("/proc/"+strconv.Itoa(pid)+"/ns/pid", rec.PIDPath)
}

func (s *Server) pauseSpec(rec *wire.Sandbox) (*wire.ContainerSpec, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	root, err := s.pauseRoot(rec)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"proc", "dev"} { // the root is read-only: mount points must exist
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(root, "pause"), nil, 0o755); err != nil {
		return nil, err
	}
	const nobody = 65535
	ns := []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}}
	for _, n := range []specs.LinuxNamespace{
		{Type: specs.NetworkNamespace, Path: rec.NetNS}, {Type: specs.UTSNamespace, Path: rec.UTSPath}, {Type: specs.IPCNamespace, Path: rec.IPCPath},
	} {
		if n.Path != "" {
			ns = append(ns, n)
		}
	}
	if rec.UserPath != "" {
		ns = []specs.LinuxNamespace{
			{Type: specs.UserNamespace, Path: rec.UserPath}, {Type: specs.NetworkNamespace, Path: rec.NetNS},
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace}, {Type: specs.IPCNamespace},
		}
	}
	return &wire.ContainerSpec{DefaultSeccomp: true, OCI: &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: root, Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/pause", Type: "bind", Source: self, Options: []string{"bind", "ro", "nosuid", "nodev"}},
		},
		Process: &specs.Process{
			User: specs.User{UID: nobody, GID: nobody}, Args: []string{"/pause", "pause"}, Cwd: "/",
			Capabilities: &specs.LinuxCapabilities{}, NoNewPrivileges: true,
		},
		Linux: &specs.Linux{
			CgroupsPath: path.Join(rec.Spec.CgroupParent, "pause"), Namespaces: ns,
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}}, nil
}

// pauseRoot returns the root directory of the init: where its user may pass through to.
func (s *Server) pauseRoot(rec *wire.Sandbox) (string, error) {
	if rec.UserPath != "" {
		return userns.MakePassage("pause") // read-only, so one for all
	}
	root := filepath.Join(s.sandboxDir(rec.ID), "rootfs")
	return root, os.MkdirAll(root, 0o755)
}

// pausePid returns the process number of the init of a sandbox's shared PID namespace.
func (s *Server) pausePid(sandboxID string) (int, error) {
	lc, err := libcontainer.Load(s.libcontainerDir(), pauseID(sandboxID))
	if err != nil {
		return 0, err
	}
	state, err := lc.State()
	if err != nil {
		return 0, err
	}
	return state.InitProcessPid, nil
}

// stopPause ends the shared PID namespace, if there is one.
func (s *Server) stopPause(rec *wire.Sandbox) error {
	if rec.PIDPath == "" && rec.UserPath == "" {
		return nil
	}
	lc, err := libcontainer.Load(s.libcontainerDir(), pauseID(rec.ID))
	if errors.Is(err, libcontainer.ErrNotExist) {
		return os.RemoveAll(filepath.Join(s.libcontainerDir(), pauseID(rec.ID)))
	}
	if err != nil {
		return err
	}
	state, err := lc.State()
	if err != nil {
		return err
	}
	if err := killCgroup(path.Join(rec.Spec.CgroupParent, "pause")); err != nil {
		return err
	}
	if err := awaitExit(state.InitProcessPid, state.InitProcessStartTime); err != nil {
		return err
	}
	_, _ = unix.Wait4(state.InitProcessPid, nil, 0, nil) // ECHILD: another shim started it
	return lc.Destroy()
}
