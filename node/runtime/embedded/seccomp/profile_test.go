package seccomp

import (
	"slices"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// rule returns what the profile says of a call, first match as the kernel sees it, without arguments.
func rule(p *specs.LinuxSeccomp, name string) (action specs.LinuxSeccompAction, conditional bool) {
	for _, s := range p.Syscalls {
		if slices.Contains(s.Names, name) {
			return s.Action, len(s.Args) > 0
		}
	}
	return p.DefaultAction, false
}

func TestDefault(t *testing.T) {
	plain := profile([]string{"CAP_CHOWN", "CAP_SYS_CHROOT"}, "amd64")
	admin := profile([]string{"CAP_SYS_ADMIN"}, "amd64")
	for _, tc := range []struct {
		call        string
		profile     *specs.LinuxSeccomp
		want        specs.LinuxSeccompAction
		conditional bool
	}{
		{"read", plain, specs.ActAllow, false},
		{"openat2", plain, specs.ActAllow, false},
		{"ptrace", plain, specs.ActAllow, false},
		{"chroot", plain, specs.ActAllow, false},
		{"chroot", admin, specs.ActErrno, false},
		{"mount", plain, specs.ActErrno, false},
		{"mount", admin, specs.ActAllow, false},
		{"bpf", plain, specs.ActErrno, false},
		{"keyctl", plain, specs.ActErrno, false},
		{"io_uring_setup", plain, specs.ActErrno, false},
		{"clone", plain, specs.ActAllow, true},
		{"clone", admin, specs.ActAllow, false},
		{"clone3", plain, specs.ActErrno, false},
		{"clone3", admin, specs.ActAllow, false},
		{"personality", plain, specs.ActAllow, true},
		{"socket", plain, specs.ActAllow, true},
		{"arch_prctl", plain, specs.ActAllow, false},
		{"arch_prctl", profile(nil, "arm64"), specs.ActErrno, false},
	} {
		if action, conditional := rule(tc.profile, tc.call); action != tc.want || conditional != tc.conditional {
			t.Errorf("%s: %s (conditional: %v), want %s (%v)", tc.call, action, conditional, tc.want, tc.conditional)
		}
	}
	if len(plain.Architectures) != 2 || *plain.DefaultErrnoRet != 1 {
		t.Errorf("%v %d", plain.Architectures, *plain.DefaultErrnoRet)
	}
}

func TestX32(t *testing.T) {
	if with, without := Default(nil, true), Default(nil, false); len(with.Architectures) != len(without.Architectures)+1 {
		t.Errorf("%v, %v", with.Architectures, without.Architectures)
	}
}

func TestKey(t *testing.T) {
	if Key([]string{"CAP_CHOWN", "CAP_SYS_TIME", "CAP_BPF"}) != Key([]string{"CAP_BPF", "CAP_SYS_TIME"}) {
		t.Error("capabilities that do not matter make a difference")
	}
	if Key([]string{"CAP_BPF"}) == Key(nil) {
		t.Error("a capability that matters makes no difference")
	}
}
