// Package logtest holds the tests that every implementation of the store's log must pass.
package logtest

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"clipper/store/log"
)

// Run tests the log that open returns. A second open of the same directory sees what the first wrote.
func Run(t *testing.T, open func(t *testing.T, dir string) log.Log) {
	t.Run("new", func(t *testing.T) {
		l := open(t, t.TempDir())
		defer l.Close()
		if rev, got := load(t, l); rev != 0 || len(got) != 0 {
			t.Errorf("a new log is at revision %d with %v", rev, got)
		}
	})
	t.Run("reopen", func(t *testing.T) { reopen(t, open) })
}

func reopen(t *testing.T, open func(t *testing.T, dir string) log.Log) {
	dir := t.TempDir()
	want := map[string]log.Entry{}
	rev := int64(0)
	for range 3 {
		l := open(t, dir)
		for range 20 {
			var batch []log.Entry
			for i := range 5 {
				rev++
				e := log.Entry{Key: fmt.Sprintf("/registry/things/ns/%d", (int(rev)*7+i)%23), Created: rev, Revision: rev}
				if rev%4 != 0 {
					e.Value = fmt.Appendf(nil, "value %d", rev)
				}
				batch = append(batch, e)
				if want[e.Key] = e; e.Value == nil {
					delete(want, e.Key)
				}
			}
			if err := l.Append(rev, batch); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir)
		gotRev, got := load(t, l)
		if gotRev != rev {
			t.Errorf("revision %d after reopening, want %d", gotRev, rev)
		}
		var names []string
		for _, e := range got {
			names = append(names, e.Key)
			w := want[e.Key]
			if string(w.Value) != string(e.Value) || w.Revision != e.Revision || w.Created != e.Created {
				t.Errorf("got %+v, want %+v", e, w)
			}
		}
		if sorted := slices.Sorted(maps.Keys(want)); !slices.Equal(names, sorted) {
			t.Errorf("keys %v, want %v", names, sorted)
		}
		l.Close()
	}
}

func load(t *testing.T, l log.Log) (int64, []log.Entry) {
	t.Helper()
	var out []log.Entry
	rev, err := l.Load(func(e log.Entry) error {
		e.Value = slices.Clone(e.Value)
		out = append(out, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return rev, out
}
