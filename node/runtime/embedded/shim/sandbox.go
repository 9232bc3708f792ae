package shim

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clipper/mountpoint"
	"clipper/node/runtime"
	"clipper/node/runtime/embedded/ocispec"
	"clipper/node/runtime/embedded/wire"
)

// A sandbox is what the containers of a pod share.
type sandbox struct {
	id string
	op sync.Mutex // serializes run, stop and remove

	rec wire.Sandbox // guarded by Server.mu
}

const shmOptions = "mode=1777,size=65536k" // as containerd sizes a pod's /dev/shm

// runSandbox makes what the pod's containers share. Repeated for a sandbox that is ready, it does nothing.
func (s *Server) runSandbox(spec *runtime.Sandbox) (wire.Sandbox, error) {
	if err := checkID(spec.ID); err != nil {
		return wire.Sandbox{}, err
	}
	sb, existed := s.claimSandbox(spec)
	sb.op.Lock()
	defer sb.op.Unlock()
	if sb.rec.Ready {
		return sb.rec, nil
	}
	if existed { // stopped, or left half made by a shim that was killed
		if err := s.removeSandboxLocked(sb); err != nil {
			return sb.rec, err
		}
	}
	rec := s.newSandboxRecord(spec)
	rec.CreatedAt = time.Now()
	// Recorded before anything is made: after a crash in between there is something to remove by.
	dir := s.sandboxDir(spec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return rec, err
	}
	if err := writeJSON(filepath.Join(dir, "sandbox.json"), savedSandbox{rec, s.bootID}); err != nil {
		return rec, err
	}
	if err := s.buildSandbox(&rec); err != nil {
		return rec, errors.Join(fmt.Errorf("sandbox %s: %w", spec.ID, err), s.removeSandboxLocked(sb))
	}
	rec.Ready = true
	if err := writeJSON(filepath.Join(dir, "sandbox.json"), savedSandbox{rec, s.bootID}); err != nil {
		return rec, err
	}
	return s.setSandbox(sb, rec), nil
}

// claimSandbox returns the sandbox of that ID, which it adds, not ready, if there is none.
func (s *Server) claimSandbox(spec *runtime.Sandbox) (sb *sandbox, existed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sb, ok := s.sandboxes[spec.ID]; ok {
		return sb, true
	}
	sb = &sandbox{id: spec.ID, rec: s.newSandboxRecord(spec)}
	s.sandboxes[spec.ID] = sb
	return sb, false
}

// savedSandbox is sandbox.json.
type savedSandbox struct {
	Record wire.Sandbox `json:"record"`
	BootID string       `json:"bootID"`
}

// newSandboxRecord lays out where things of the sandbox will be.
func (s *Server) newSandboxRecord(spec *runtime.Sandbox) wire.Sandbox {
	dir := s.sandboxDir(spec.ID)
	rec := wire.Sandbox{
		SandboxStatus: runtime.SandboxStatus{
			ID: spec.ID, PodUID: spec.PodUID, Namespace: spec.Namespace, Pod: spec.Pod,
			Attempt: spec.Attempt, NetNS: spec.NetNS, Labels: spec.Labels, Annotations: spec.Annotations,
			Handler: spec.Handler, External: spec.External,
			HostNetwork: spec.HostNetwork, HostPID: spec.HostPID, HostIPC: spec.HostIPC, SharedPID: spec.SharedPID,
		},
		Spec:       spec,
		ShmPath:    "/dev/shm",
		HostnameAt: filepath.Join(dir, "hostname"),
	}
	if !spec.HostNetwork {
		rec.UTSPath = filepath.Join(dir, "uts")
	}
	if !spec.HostIPC {
		rec.IPCPath, rec.ShmPath = filepath.Join(dir, "ipc"), filepath.Join(dir, "shm")
	}
	if spec.SharedPID && !spec.HostPID {
		rec.PIDPath = filepath.Join(dir, "pid")
	}
	if spec.UserNS != nil {
		rec.UserPath = filepath.Join(dir, "user")
	}
	return rec
}

func (s *Server) buildSandbox(rec *wire.Sandbox) error {
	spec := rec.Spec
	if err := setPodCgroup(spec.CgroupParent, ocispec.Resources(spec.Resources)); err != nil {
		return err
	}
	hostname := spec.Hostname
	if spec.HostNetwork {
		hostname, _ = os.Hostname()
	}
	if err := os.WriteFile(rec.HostnameAt, []byte(hostname+"\n"), 0o644); err != nil {
		return err
	}
	if !spec.HostIPC {
		if err := os.MkdirAll(rec.ShmPath, 0o1777); err != nil {
			return err
		}
		if err := unix.Mount("shm", rec.ShmPath, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, shmOptions); err != nil {
			return fmt.Errorf("mount /dev/shm: %w", err)
		}
	}
	if rec.UserPath != "" {
		return s.separate(rec)
	}
	if err := setUpNamespaces(rec, func() error { return unshare(rec) }); err != nil {
		return err
	}
	if rec.PIDPath != "" {
		_, err := s.startPause(rec)
		return err
	}
	return nil
}

// setUpNamespaces prepares the UTS and IPC namespaces that enter takes the calling thread to, and keeps them by
// bind mounts. It does so on a thread of its own, which ends with the goroutine.
func setUpNamespaces(rec *wire.Sandbox, enter func() error) error {
	done := make(chan error)
	go func() {
		goruntime.LockOSThread() // never unlocked: the thread is in other namespaces and must not be reused
		err := enter()
		if err == nil {
			err = setUpThread(rec)
		}
		done <- err
	}()
	return <-done
}

// unshare takes the thread to new namespaces.
func unshare(rec *wire.Sandbox) error {
	flags := 0
	if rec.UTSPath != "" {
		flags |= unix.CLONE_NEWUTS
	}
	if rec.IPCPath != "" {
		flags |= unix.CLONE_NEWIPC
	}
	if flags == 0 {
		return nil
	}
	return os.NewSyscallError("unshare", unix.Unshare(flags))
}

func setUpThread(rec *wire.Sandbox) error {
	spec := rec.Spec
	if spec.NetNS != "" && len(spec.Sysctls) > 0 {
		if err := joinNetwork(spec.NetNS); err != nil {
			return err
		}
	}
	if rec.UTSPath != "" {
		if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
			return os.NewSyscallError("sethostname", err)
		}
		if spec.Domainname != "" {
			if err := unix.Setdomainname([]byte(spec.Domainname)); err != nil {
				return os.NewSyscallError("setdomainname", err)
			}
		}
	}
	for name, value := range spec.Sysctls {
		if err := writeSysctl(name, value); err != nil {
			return err
		}
	}
	for name, path := range map[string]string{"uts": rec.UTSPath, "ipc": rec.IPCPath} {
		if path == "" {
			continue
		}
		if err := holdNamespace(fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), name), path); err != nil {
			return err
		}
	}
	return nil
}

func joinNetwork(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("join network namespace %s: %w", path, err)
	}
	return nil
}

// holdNamespace keeps the namespace file at ns alive by a bind mount at path.
func holdNamespace(ns, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|os.O_EXCL, 0o444)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	f.Close()
	if err := unix.Mount(ns, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("hold namespace at %s: %w", path, err)
	}
	return nil
}

// writeSysctl sets a sysctl of this thread's namespaces. Names separate by dots or, where a part holds
// a dot itself, by slashes: net/ipv4/conf/eth0.1/forwarding is net.ipv4.conf.eth0/1.forwarding.
func writeSysctl(name, value string) error {
	path := name
	if dot, slash := strings.IndexByte(name, '.'), strings.IndexByte(name, '/'); slash < 0 || dot >= 0 && dot < slash {
		path = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	if !filepath.IsLocal(path) {
		return fmt.Errorf("sysctl %q: invalid name", name)
	}
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
		return fmt.Errorf("sysctl %s: %w", name, err)
	}
	return nil
}

// stopSandbox kills everything in the sandbox. Its records and logs stay.
func (s *Server) stopSandbox(id string) error {
	s.mu.Lock()
	sb, ok := s.sandboxes[id]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	return s.stopSandboxLocked(sb)
}

func (s *Server) stopSandboxLocked(sb *sandbox) error {
	var group sync.WaitGroup
	containers := s.containersOf(sb.id)
	errs := make([]error, len(containers))
	for i, c := range containers {
		group.Go(func() { errs[i] = c.kill() })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := s.stopPause(&sb.rec); err != nil {
		return err
	}
	if path := sb.rec.Spec.CgroupParent; path != "" {
		if err := killCgroup(path); err != nil {
			return err
		}
	}
	if rec := sb.rec; rec.Ready {
		rec.Ready = false
		if err := writeJSON(filepath.Join(s.sandboxDir(sb.id), "sandbox.json"), savedSandbox{rec, s.bootID}); err != nil {
			return err
		}
		s.setSandbox(sb, rec)
	}
	return nil
}

// removeSandbox removes the sandbox with its containers. Of one that is not known, what may be left is cleared.
func (s *Server) removeSandbox(id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	s.mu.Lock()
	sb, ok := s.sandboxes[id]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	return s.removeSandboxLocked(sb)
}

func (s *Server) removeSandboxLocked(sb *sandbox) error {
	if err := s.stopSandboxLocked(sb); err != nil {
		return err
	}
	for _, c := range s.containersOf(sb.id) {
		if _, err := s.remove(c.id); err != nil {
			return err
		}
	}
	rec := sb.rec
	for _, path := range []string{rec.UserPath, rec.UTSPath, rec.IPCPath, rec.PIDPath, rec.ShmPath} {
		if path == "" || path == "/dev/shm" {
			continue
		}
		if err := mountpoint.Unmount(path); err != nil {
			return err
		}
	}
	if path := rec.Spec.CgroupParent; path != "" {
		if err := removePodCgroup(path); err != nil {
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
	if err := os.RemoveAll(s.sandboxDir(sb.id)); err != nil {
		return err
	}
	s.forget(sb.id)
	return nil
}

// updateResources changes the limits of a container, running or not yet started, or of a sandbox's pod cgroup.
func (s *Server) updateResources(id string, r *runtime.Resources) error {
	s.mu.Lock()
	sb, ok := s.sandboxes[id]
	s.mu.Unlock()
	if ok {
		return setPodCgroup(sb.rec.Spec.CgroupParent, ocispec.Resources(*r))
	}
	c, err := s.container(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	rec := c.record()
	resources := ocispec.Resources(*r)
	switch {
	case rec.State == runtime.Created && !rec.Reserved:
		return c.updateSpec(resources)
	case rec.State != runtime.Running || c.lc == nil:
		return nil // it will not use them any more
	}
	config := c.lc.Config()
	cg := *config.Cgroups
	changed := *cg.Resources
	if err := setResources(&changed, resources); err != nil {
		return err
	}
	cg.Resources = &changed
	config.Cgroups = &cg
	if err := c.lc.Set(config); err != nil {
		return fmt.Errorf("container %s: update resources: %w", id, err)
	}
	return nil
}
