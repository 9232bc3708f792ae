package embedded

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/ocispec"
	"clipper/node/runtime/embedded/wire"
)

// containerSpec puts together what the shim needs to run the container, but for its identity.
func (r *Runtime) containerSpec(id string, c *runtime.Container, sb *wire.Sandbox, rootfs string, config *v1.Config) (*wire.ContainerSpec, error) {
	user, err := resolveUser(rootfs, &c.Security, config.User)
	if err != nil {
		return nil, err
	}
	devices, err := resolveDevices(c.Devices)
	if err != nil {
		return nil, err
	}
	joined, err := r.joined(id, c, sb)
	if err != nil {
		return nil, err
	}
	image := &ocispec.Image{Entrypoint: config.Entrypoint, Cmd: config.Cmd, Env: config.Env, WorkDir: config.WorkingDir}
	spec, defaultSeccomp, err := ocispec.Build(c, image, joined, rootfs, user, devices)
	if err != nil {
		return nil, err
	}
	if err := injectCDI(spec, c.CDIDevices); err != nil {
		return nil, err
	}
	stop, err := stopSignal(c.StopSignal, config.StopSignal)
	if err != nil {
		return nil, err
	}
	out := &wire.ContainerSpec{
		OCI: spec, DefaultSeccomp: defaultSeccomp, TTY: c.TTY, Stdin: c.Stdin, StdinOnce: c.StdinOnce,
		StopSignal: int(stop), CgroupPath: joined.CgroupPath, SharedPID: joined.PID != "" || joined.HostPID,
	}
	out.Status.User = &runtime.ContainerUser{UID: int64(user.UID), GID: int64(user.GID)}
	if ids := sb.Spec.UserNS; ids != nil {
		out.RootID = ids.Host
	}
	for _, g := range user.AdditionalGids {
		out.Status.User.SupplementalGroups = append(out.Status.User.SupplementalGroups, int64(g))
	}
	return out, nil
}

// joined says what the container shares with its sandbox and takes from the host.
func (r *Runtime) joined(id string, c *runtime.Container, sb *wire.Sandbox) (*ocispec.Sandbox, error) {
	out := &ocispec.Sandbox{
		Hostname: sb.Spec.Hostname,
		NetNS:    sb.NetNS, User: sb.UserPath, UTS: sb.UTSPath, IPC: sb.IPCPath, PID: sb.PIDPath,
		HostPID: sb.Spec.HostPID, Shm: sb.ShmPath, HostnameFile: sb.HostnameAt,
		CgroupPath: cgroupPath(sb, id), CgroupNamespace: r.host.unified,
		HeldCapabilities: r.host.capabilities, ThermalThrottle: r.host.throttle, AppArmor: r.host.appArmor, SELinux: r.host.seLinux,
	}
	if sb.Spec.HostNetwork {
		out.NetNS = ""
		out.Hostname, _ = os.Hostname()
	}
	if err := r.joinPID(out, c); err != nil {
		return nil, err
	}
	var err error
	if c.Security.Privileged {
		if out.HostDevices, err = hostDevices(); err != nil {
			return nil, fmt.Errorf("list host devices: %w", err)
		}
	}
	if path := c.Security.Seccomp; strings.HasPrefix(path, "/") {
		out.LocalhostSeccompParsed, err = readSeccomp(path)
	}
	return out, err
}

// joinPID takes the container's choice of PID namespace over the sandbox's.
func (r *Runtime) joinPID(sb *ocispec.Sandbox, c *runtime.Container) error {
	switch c.PID {
	case runtime.OwnPID:
		sb.PID, sb.HostPID = "", false
	case runtime.HostPID:
		sb.PID, sb.HostPID = "", true
	case runtime.TargetPID:
		target, known, _ := r.cache.container(c.TargetID)
		if !known || target.State != runtime.Running || target.SandboxID != c.SandboxID {
			return fmt.Errorf("target container %q is not running in the pod", c.TargetID)
		}
		sb.PID, sb.HostPID = fmt.Sprintf("/proc/%d/ns/pid", target.Pid), false
	}
	return nil
}

// readSeccomp reads a profile from the node's disk.
func readSeccomp(path string) (*specs.LinuxSeccomp, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(data, profile); err != nil {
		return nil, fmt.Errorf("seccomp profile %s: %w", path, err)
	}
	return profile, nil
}

// stopSignal parses the first name given: SIGTERM, TERM, 15, SIGRTMIN+3.
func stopSignal(names ...string) (unix.Signal, error) {
	for _, name := range names {
		if name == "" {
			continue
		}
		if sig, ok := parseSignal(name); ok {
			return sig, nil
		}
		return 0, fmt.Errorf("stop signal %q: no such signal", name)
	}
	return unix.SIGTERM, nil
}

// The real-time signals, as programs see them: the C library keeps the first two for itself.
const (
	sigRTMin = 34
	sigRTMax = 64
)

func parseSignal(name string) (unix.Signal, bool) {
	if n, err := strconv.Atoi(name); err == nil {
		return unix.Signal(n), n > 0 && n <= sigRTMax
	}
	name = "SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if offset, ok := strings.CutPrefix(name, "SIGRTMIN"); ok {
		n, err := strconv.Atoi("0" + strings.TrimPrefix(offset, "+"))
		return unix.Signal(sigRTMin + n), err == nil && n <= sigRTMax-sigRTMin
	}
	if offset, ok := strings.CutPrefix(name, "SIGRTMAX"); ok {
		n, err := strconv.Atoi("0" + strings.TrimPrefix(offset, "-"))
		return unix.Signal(sigRTMax - n), err == nil && n <= sigRTMax-sigRTMin
	}
	sig := unix.SignalNum(name)
	return sig, sig != 0
}
