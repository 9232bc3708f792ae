package shim

import (
	"os"
	"testing"
)

func TestCleanMappings(t *testing.T) {
	const smaps = `00400000-00401000 r--p 00000000 fe:00 1234 /bin/shim
Size:                  4 kB
Anonymous:             0 kB
00401000-00772000 r-xp 00001000 fe:00 1234 /bin/shim
Anonymous:             0 kB
00ade000-00ae3000 r--p 006de000 fe:00 1234 /bin/shim
Anonymous:            20 kB
00ae3000-00aff000 rw-p 006e3000 fe:00 1234 /bin/shim
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 99 /lib/other
Anonymous:             0 kB
7ffd129be000-7ffd129df000 rw-p 00000000 00:00 0 [stack]
Anonymous:             8 kB
7ffd129f0000-7ffd129f1000 rw-p 00000000 00:00 0
Anonymous:             0 kB
`
	got := cleanMappings([]byte(smaps), "/bin/shim")
	want := []mapping{{0x400000, 0x401000}, {0x401000, 0x772000}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%x, want %x", got, want)
	}
	// This very program goes on after its pages were dropped.
	exe, _ := os.Readlink("/proc/self/exe")
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil || len(cleanMappings(data, exe)) == 0 {
		t.Errorf("nothing clean in this program: %v", err)
	}
	dropProgramPages()
}
