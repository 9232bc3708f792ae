package image

import (
	"fmt"
	"testing"

	"clipper/image/build"
)

// A container's root file system is on the way of every pod start.
func BenchmarkPrepareRemove(b *testing.B) {
	s := open(b, b.TempDir())
	if _, err := s.Add(b.Context(), testImage(b, build.Spec{}, testLayer(b, "a=1"), testLayer(b, "b=2")), "app"); err != nil {
		b.Fatal(err)
	}
	i := 0
	for b.Loop() {
		id := fmt.Sprint("c", i)
		i++
		if _, _, err := s.Prepare(b.Context(), id, "app"); err != nil {
			b.Fatal(err)
		}
		if err := s.RemoveSnapshot(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}
