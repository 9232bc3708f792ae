package ranges

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/config/v1beta1"
	"k8s.io/utils/ptr"

	"clipper/node/userns"
)

func TestRangesAreApartAndRemembered(t *testing.T) {
	dir := t.TempDir()
	a := New(dir, nil, 2)
	first := acquire(t, a, "one")
	if want := (userns.IDs{Host: 65536, Length: 65536}); first != want {
		t.Errorf("first range %+v, want %+v: the machine's own users keep theirs", first, want)
	}
	second := acquire(t, a, "two")
	if second.Host != 131072 {
		t.Errorf("second range begins at %d", second.Host)
	}
	if again := acquire(t, a, "one"); again != first {
		t.Errorf("the same pod got %+v, then %+v", first, again)
	}
	if _, err := a.Acquire("three"); err == nil || !strings.Contains(err.Error(), "could not find an empty slot") {
		t.Errorf("a third pod of two: %v", err)
	}
	after := New(dir, nil, 2) // as after a restart
	if got := acquire(t, after, "two"); got != second {
		t.Errorf("after a restart %+v, before %+v", got, second)
	}
	if err := after.Release("one"); err != nil {
		t.Fatal(err)
	}
	if got := acquire(t, after, "three"); got != first {
		t.Errorf("a range that was given back is free: got %+v", got)
	}
	if err := after.Release("never heard of"); err != nil {
		t.Errorf("release of nothing: %v", err)
	}
}

func TestLengthIsASetting(t *testing.T) {
	a := New(t.TempDir(), &v1beta1.UserNamespaces{IDsPerPod: ptr.To[int64](131072)}, 3)
	if got, want := acquire(t, a, "p"), (userns.IDs{Host: 131072, Length: 131072}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func acquire(t *testing.T, a *Allocator, pod types.UID) userns.IDs {
	t.Helper()
	ids, err := a.Acquire(pod)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestFilesOfOthers(t *testing.T) {
	const good = `{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}`
	for _, tc := range []struct{ file, fault string }{
		{good, ""},
		{"{", "invalid user namespace mappings file"},
		{"{}", "no more than one mapping"},
		{strings.Replace(good, "131072", "196608", 1), "should be identical"},
		{strings.ReplaceAll(good, `"containerId":0`, `"containerId":1`), "UID 0 must be mapped"},
		{strings.ReplaceAll(good, `"length":65536`, `"length":1`), "wrong user namespace length 1"},
		{strings.ReplaceAll(good, "131072", "131073"), "wrong user namespace offset specified 131073"},
		{strings.ReplaceAll(good, "131072", "0"), "id 0 is out of range"},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "old"), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "old", mappings), []byte(tc.file), 0o600); err != nil {
			t.Fatal(err)
		}
		ids, err := New(dir, nil, 5).Acquire("old")
		switch {
		case tc.fault == "" && (err != nil || ids.Host != 131072):
			t.Errorf("%s: got %+v, %v", tc.file, ids, err)
		case tc.fault != "" && (err == nil || !strings.Contains(err.Error(), tc.fault)):
			t.Errorf("%s: got %v, want %q", tc.file, err, tc.fault)
		}
	}
}

// FuzzParse: whatever lies in the file, a range that comes of it is one that the allocator could have given out.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"uidMappings":[{"hostId":65536,"containerId":0,"length":65536}],"gidMappings":[{"hostId":65536,"containerId":0,"length":65536}]}`))
	f.Add([]byte(`{}`))
	a := New(f.TempDir(), nil, 10)
	f.Fuzz(func(t *testing.T, data []byte) {
		slot, err := a.parse(data)
		if err == nil && (slot > 1<<16 || a.ids(slot).Host < Unit) {
			t.Errorf("%q: slot %d", data, slot)
		}
	})
}
