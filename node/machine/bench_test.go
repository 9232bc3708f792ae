package machine

import "testing"

// BenchmarkLook is what a node that is short of nothing reads every ten seconds.
func BenchmarkLook(b *testing.B) {
	for b.Loop() {
		info, err := Meminfo()
		if err != nil || WorkingSet(info) == 0 {
			b.Fatal(err)
		}
		if _, err := FileSystemOf("/"); err != nil {
			b.Fatal(err)
		}
		if _, _, err := Tasks(); err != nil {
			b.Fatal(err)
		}
	}
}
