package ocispec

import (
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"clipper/node/runtime"
)

var held = CapabilityNames(1<<41 - 1)

func build(t *testing.T, c runtime.Container, sb Sandbox) *specs.Spec {
	t.Helper()
	if len(c.Command) == 0 {
		c.Command = []string{"run"}
	}
	sb.HeldCapabilities = held
	spec, _, err := Build(&c, &Image{}, &sb, "/rootfs", specs.User{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestArgs(t *testing.T) {
	image := &Image{Entrypoint: []string{"entry"}, Cmd: []string{"cmd"}}
	for _, tc := range []struct {
		command, args, want string
	}{ // the table of kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container
		{"", "", "entry cmd"},
		{"c", "", "c"},
		{"", "a b", "entry a b"},
		{"c", "a b", "c a b"},
	} {
		c := &runtime.Container{Command: strings.Fields(tc.command), Args: strings.Fields(tc.args)}
		if got := strings.Join(Args(c, image), " "); got != tc.want {
			t.Errorf("command %q args %q: %q, want %q", tc.command, tc.args, got, tc.want)
		}
	}
	if _, _, err := Build(&runtime.Container{}, &Image{}, &Sandbox{}, "/", specs.User{}, nil); err != errNoCommand {
		t.Errorf("no command: %v", err)
	}
}

func TestCapabilities(t *testing.T) {
	few := []string{"CAP_CHOWN", "CAP_NET_ADMIN", "CAP_NET_RAW"}
	for _, tc := range []struct {
		name string
		sec  runtime.Security
		held []string
		want string
	}{
		{"default", runtime.Security{}, held, strings.Join(defaultCapabilities, " ")},
		{"only what is held", runtime.Security{}, few, "CAP_CHOWN CAP_NET_RAW"},
		{"added", runtime.Security{AddCapabilities: []string{"NET_ADMIN", "cap_sys_time"}}, few, "CAP_CHOWN CAP_NET_ADMIN CAP_NET_RAW"},
		{"dropped", runtime.Security{DropCapabilities: []string{"CHOWN"}}, few, "CAP_NET_RAW"},
		{"drop all, add one", runtime.Security{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_RAW"}}, few, "CAP_NET_RAW"},
		{"add all, drop one", runtime.Security{DropCapabilities: []string{"CHOWN"}, AddCapabilities: []string{"all"}}, few, "CAP_NET_ADMIN CAP_NET_RAW"},
		{"privileged", runtime.Security{Privileged: true}, few, "CAP_CHOWN CAP_NET_ADMIN CAP_NET_RAW"},
	} {
		if got := strings.Join(capabilities(&tc.sec, tc.held), " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestEnvironment(t *testing.T) {
	c := &runtime.Container{Env: []string{"A=pod", "EMPTY=", "PATH=/pod"}, TTY: true}
	got := environment(c, &Image{Env: []string{"PATH=/image", "A=image", "B=image"}}, "host")
	want := []string{"PATH=/pod", "TERM=xterm", "HOSTNAME=host", "A=pod", "B=image", "EMPTY="}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// destinations lists where the spec mounts, in order.
func destinations(spec *specs.Spec) []string {
	var out []string
	for _, m := range spec.Mounts {
		out = append(out, m.Destination)
	}
	return out
}

func TestMounts(t *testing.T) {
	spec := build(t, runtime.Container{Mounts: []runtime.Mount{
		{Host: "/h/1", Container: "/a/b/", ReadOnly: true},
		{Host: "/h/2", Container: "/a", Propagation: "HostToContainer"},
		{Host: "/h/3", Container: "/dev/shm"},
		{Host: "/h/4", Container: "/sys", ReadOnly: true, RecursiveReadOnly: true},
	}}, Sandbox{Shm: "/sb/shm", HostnameFile: "/sb/hostname"})
	got := destinations(spec)
	want := []string{"/proc", "/dev", "/dev/pts", "/dev/mqueue", "/sys/fs/cgroup", "/etc/hostname", "/a", "/sys", "/a/b", "/dev/shm"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	options := map[string]string{}
	for _, m := range spec.Mounts {
		options[m.Destination] = strings.Join(m.Options, ",")
	}
	if options["/a/b"] != "rbind,rprivate,ro" || options["/a"] != "rbind,rslave,rw" || options["/sys"] != "rbind,rprivate,rro" {
		t.Errorf("%q", options)
	}
	if spec.Linux.RootfsPropagation != "rslave" {
		t.Errorf("root propagation %q", spec.Linux.RootfsPropagation)
	}
}

func TestPrivileged(t *testing.T) {
	all := []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}}
	plain := build(t, runtime.Container{}, Sandbox{HostDevices: all, ThermalThrottle: []string{"/sys/throttle"}, AppArmor: &AppArmor{Loaded: func(string) bool { return true }}})
	if len(plain.Linux.MaskedPaths) != len(MaskedPaths)+1 || len(plain.Linux.Devices) != 0 || plain.Linux.Resources.Devices[0].Allow {
		t.Errorf("%+v", plain.Linux)
	}
	privileged := build(t, runtime.Container{Security: runtime.Security{Privileged: true, AppArmor: "localhost/x"}}, Sandbox{HostDevices: all, AppArmor: &AppArmor{Loaded: func(string) bool { return true }}})
	if len(privileged.Linux.MaskedPaths)+len(privileged.Linux.ReadonlyPaths) != 0 || len(privileged.Linux.Devices) != 1 ||
		!privileged.Linux.Resources.Devices[0].Allow || privileged.Process.ApparmorProfile != "" {
		t.Errorf("%+v", privileged.Linux)
	}
	for _, m := range privileged.Mounts {
		if m.Destination == "/sys" && !slices.Contains(m.Options, "rw") {
			t.Errorf("%+v", m)
		}
	}
}

func TestDevices(t *testing.T) {
	c := runtime.Container{Command: []string{"x"}}
	dev := Device{LinuxDevice: specs.LinuxDevice{Path: "/dev/mine", Type: "b", Major: 8, Minor: 1}, Permissions: "r"}
	spec, seccomp, err := Build(&c, &Image{}, &Sandbox{HeldCapabilities: held}, "/", specs.User{}, []Device{dev})
	if err != nil || !seccomp {
		t.Fatal(err, seccomp)
	}
	rules := spec.Linux.Resources.Devices
	if len(rules) != 2 || !rules[1].Allow || rules[1].Type != "b" || *rules[1].Major != 8 || rules[1].Access != "r" {
		t.Errorf("%+v", rules)
	}
}

func TestSwapAndOOMGroup(t *testing.T) {
	none := int64(0)
	limited := Resources(runtime.Resources{MemoryLimit: 100, SwapLimit: &none})
	if limited.Memory.Swap == nil || *limited.Memory.Swap != 100 || limited.Unified != nil {
		t.Errorf("beside a memory limit: %+v, %v", limited.Memory, limited.Unified)
	}
	free := Resources(runtime.Resources{SwapLimit: &none, OOMGroup: true})
	if free.Memory != nil || free.Unified["memory.swap.max"] != "0" || free.Unified["memory.oom.group"] != "1" {
		t.Errorf("without one: %+v, %v", free.Memory, free.Unified)
	}
	if r := Resources(runtime.Resources{MemoryLimit: 100}); r.Memory.Swap != nil || r.Unified != nil {
		t.Errorf("nothing said: %+v, %v", r.Memory, r.Unified)
	}
}

func TestUserNamespace(t *testing.T) {
	spec := build(t, runtime.Container{Mounts: []runtime.Mount{
		{Host: "/h", Container: "/volume"}, {Host: "/i", Container: "/image", Unmapped: true},
	}}, Sandbox{User: "/sandbox/user", Shm: "/sandbox/shm"})
	if !slices.Contains(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: "/sandbox/user"}) {
		t.Errorf("namespaces %v", spec.Linux.Namespaces)
	}
	want := map[string]bool{"/volume": true, "/image": false, "/dev/shm": true}
	for _, m := range spec.Mounts {
		if mapped, ok := want[m.Destination]; ok && slices.Contains(m.Options, "idmap") != mapped {
			t.Errorf("%+v", m)
		}
	}
	plain := build(t, runtime.Container{Mounts: []runtime.Mount{{Host: "/h", Container: "/volume"}}}, Sandbox{Shm: "/sandbox/shm"})
	for _, m := range plain.Mounts {
		if slices.Contains(m.Options, "idmap") {
			t.Errorf("without one: %+v", m)
		}
	}
}
