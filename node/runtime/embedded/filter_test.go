package embedded

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"clipper/node/runtime"
	"clipper/node/runtime/embedded/seccomp"
)

// TestFilterIsTheProfile: the filter that was compiled beforehand and is handed to set-up processes confines as the
// same rules do when a set-up process compiles them itself.
func TestFilterIsTheProfile(t *testing.T) {
	b := newBed(t)
	sb := b.sandbox()
	plain := b.run(sb, "exec sleep 1000")
	capabilities := []string{"CAP_SYS_CHROOT"} // of the default ones, all that opens system calls
	rules, err := json.Marshal(seccomp.Default(capabilities, kernelHasX32()))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(b.dir, "profile.json")
	if err := os.WriteFile(file, rules, 0o600); err != nil {
		t.Fatal(err)
	}
	spelled := b.run(sb, "exec sleep 1000", func(c *runtime.Container) { c.Security.Seccomp = file })
	got, err := filterOf(b.status(plain).Pid)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EIO) || errors.Is(err, unix.EACCES) {
		t.Skipf("this kernel does not show filters: %v", err)
	}
	want, err2 := filterOf(b.status(spelled).Pid)
	if err != nil || err2 != nil {
		t.Fatal(err, err2)
	}
	if len(got) < 100 || len(got) != len(want) {
		t.Errorf("a filter of %d instructions, and not the %d that the rules compile to", len(got), len(want))
	}
	handed, compiled := machine(t, got), machine(t, want)
	for _, arch := range []uint32{unix.AUDIT_ARCH_X86_64, unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_AARCH64} {
		for nr := range uint32(700) {
			for _, variant := range []uint32{0, x32Bit} {
				for _, arg := range []uint32{0, 1, unix.AF_ALG, unix.AF_VSOCK, unix.CLONE_NEWUSER, 0xffffffff} {
					call := call(arch, nr|variant, arg)
					if is, wants := verdict(t, handed, call), verdict(t, compiled, call); is != wants {
						t.Fatalf("call %d of architecture %#x with %#x: %#x, want %#x", nr|variant, arch, arg, is, wants)
					}
				}
			}
		}
	}
}

const x32Bit = 0x40000000

// machine returns what runs a program as the kernel does.
func machine(t *testing.T, program []uint64) *bpf.VM {
	t.Helper()
	var out []bpf.Instruction
	for _, raw := range program {
		out = append(out, bpf.RawInstruction{Op: uint16(raw), Jt: uint8(raw >> 16), Jf: uint8(raw >> 24), K: uint32(raw >> 32)}.Disassemble())
	}
	vm, err := bpf.NewVM(out)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// call is a struct seccomp_data with all arguments alike. Its words are big-endian, as the machine loads them.
func call(arch, nr, arg uint32) []byte {
	const arguments, instructionPointer = 6, 8
	out := binary.BigEndian.AppendUint32(nil, nr)
	out = append(binary.BigEndian.AppendUint32(out, arch), make([]byte, instructionPointer)...)
	for range arguments {
		out = binary.BigEndian.AppendUint32(out, arg)
		out = binary.BigEndian.AppendUint32(out, 0)
	}
	return out
}

func verdict(t *testing.T, vm *bpf.VM, call []byte) int {
	t.Helper()
	v, err := vm.Run(call)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func kernelHasX32() bool {
	_, _, errno := unix.RawSyscall(x32Bit|unix.SYS_GETPID, 0, 0, 0)
	return errno == 0
}

// filterOf reads the seccomp program that confines a process.
func filterOf(pid int) ([]uint64, error) {
	goruntime.LockOSThread() // a tracer is a thread
	defer goruntime.UnlockOSThread()
	if err := unix.PtraceSeize(pid); err != nil {
		return nil, fmt.Errorf("seize: %w", err)
	}
	defer unix.PtraceDetach(pid)
	if err := unix.PtraceInterrupt(pid); err != nil {
		return nil, fmt.Errorf("interrupt: %w", err)
	}
	if _, err := unix.Wait4(pid, nil, unix.WALL, nil); err != nil {
		return nil, fmt.Errorf("wait: %w", err)
	}
	const getFilter = 0x420c // PTRACE_SECCOMP_GET_FILTER
	n, _, errno := unix.Syscall6(unix.SYS_PTRACE, getFilter, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	buf := make([]byte, 8*n)
	if _, _, errno := unix.Syscall6(unix.SYS_PTRACE, getFilter, uintptr(pid), 0, uintptr(unsafe.Pointer(&buf[0])), 0, 0); errno != 0 {
		return nil, errno
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = binary.NativeEndian.Uint64(buf[8*i:])
	}
	return out, nil
}
