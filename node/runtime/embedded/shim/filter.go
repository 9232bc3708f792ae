package shim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"

	"github.com/opencontainers/runc/libcontainer/configs"
	libseccomp "github.com/opencontainers/runc/libcontainer/seccomp"
	"github.com/opencontainers/runc/libcontainer/specconv"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	seccomplib "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"clipper/node/runtime/embedded/seccomp"
	"clipper/node/runtime/embedded/wire"
)

// filterMark begins a compiled filter; cmd/clipper-shim looks for it (FILTER_MARK).
const filterMark = "CLIPBPF1"

// A profile is a variant of the default seccomp profile.
type profile struct {
	// config has all rules, or, where there is a program, only those that count beside it: see beside.
	config  *configs.Seccomp
	program *os.File // compiled, in a sealed memory file; nil where that did not work: it is then compiled each time
}

// A profileCache keeps one copy of each variant: some hundred kilobytes that nearly all containers share, and
// the time to compile it, which is a third of what it takes to start a container.
type profileCache struct {
	mu       sync.Mutex
	profiles map[string]*profile
}

// get returns the profile for process p.
func (c *profileCache) get(p *specs.Process) (*profile, error) {
	var capabilities []string
	if p.Capabilities != nil {
		capabilities = p.Capabilities.Bounding
	}
	key := seccomp.Key(capabilities)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.profiles[key]; ok {
		return known, nil
	}
	config, err := specconv.SetupSeccomp(seccomp.Default(capabilities, kernelRunsX32()))
	if err != nil {
		return nil, fmt.Errorf("default seccomp profile: %w", err)
	}
	program, err := compile(config)
	if err != nil {
		slog.Warn("compiling the seccomp filter for each process anew", "err", err)
	}
	if program != nil {
		config = beside(config)
	}
	if c.profiles == nil {
		c.profiles = map[string]*profile{}
	}
	c.profiles[key] = &profile{config, program}
	return c.profiles[key], nil
}

// beside returns what a set-up process needs of the rules when it has them as a program too. The library still
// looks for the highest system call that a rule names, by architecture: what is newer fails with ENOSYS. The other
// some hundred rules, 25 kB, it would only be handed with every start, to no effect.
func beside(config *configs.Seccomp) *configs.Seccomp {
	native, err := seccomplib.GetNativeArch()
	if err != nil {
		return config
	}
	archs := []seccomplib.ScmpArch{native}
	for _, name := range config.Architectures {
		arch, err := seccomplib.GetArchFromString(name)
		if err != nil {
			return config
		}
		archs = append(archs, arch)
	}
	out := *config
	out.Syscalls = nil
	for _, arch := range archs {
		if last := lastCall(config.Syscalls, arch); last != nil && !slices.Contains(out.Syscalls, last) {
			out.Syscalls = append(out.Syscalls, last)
		}
	}
	return &out
}

// lastCall returns a rule for the system call of the highest number.
func lastCall(rules []*configs.Syscall, arch seccomplib.ScmpArch) (last *configs.Syscall) {
	var highest seccomplib.ScmpSyscall
	for _, rule := range rules {
		if nr, err := seccomplib.GetSyscallFromNameByArch(rule.Name, arch); err == nil && nr > highest {
			last, highest = rule, nr
		}
	}
	return last
}

// defaultProfile returns the profile of a container that has the default one, else nil.
func (s *Server) defaultProfile(spec *wire.ContainerSpec) (*profile, error) {
	if !spec.DefaultSeccomp {
		return nil, nil
	}
	return s.profiles.get(spec.OCI.Process)
}

// passTo hands the compiled filter to a process that is going to be set up.
func (p *profile) passTo() []*os.File {
	if p == nil || p.program == nil {
		return nil
	}
	return []*os.File{p.program}
}

// compile has the filter compiled in a process of its own, which ends confined by it: that it could be loaded is
// part of the result.
func compile(config *configs.Seccomp) (_ *os.File, err error) {
	fd, err := unix.MemfdCreate("clipper-seccomp", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "seccomp filter")
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(filterMark); err != nil {
		return nil, err
	}
	var said bytes.Buffer
	cmd := exec.Command("/proc/self/exe", "compile-filter")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(text), f, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("compile seccomp filter: %w: %s", err, said.String())
	}
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const instruction = 8 // bytes; a filter has some hundred of them
	if size := st.Size() - int64(len(filterMark)); size <= 10*instruction || size%instruction != 0 {
		return nil, fmt.Errorf("compile seccomp filter: %d bytes came out", size)
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	return f, nil
}

// CompileFilter is the other process: it reads a configuration and applies it to itself.
func CompileFilter(from io.Reader) error {
	var config configs.Seccomp
	if err := json.NewDecoder(from).Decode(&config); err != nil {
		return err
	}
	_, err := libseccomp.InitSeccomp(&config)
	return err
}
