package csi

import (
	"os"
	"testing"
)

func FuzzParseData(f *testing.F) {
	f.Add([]byte(`{"driverName":"d","volumeHandle":"h","specVolID":"pv","nodeName":"n","attachmentID":"csi-1","volumeLifecycleMode":"Persistent"}`))
	f.Add([]byte(`{"driverName":"d","volumeHandle":"h","specVolID":"../../x"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseData(b)
		if err != nil {
			return
		}
		if d.Driver == "" || d.Handle == "" {
			t.Errorf("%q names nothing", b)
		}
		dir := t.TempDir()
		if err := save(dir, d); err != nil {
			t.Fatal(err)
		}
		again, err := load(dir)
		if err != nil || again != d {
			t.Errorf("%+v became %+v, %v", d, again, err)
		}
	})
}

func TestRemoveKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	if err := save(dir+"/v", data{Driver: "d", Handle: "h"}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir+"/v/mount/data", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := removeMount(dir + "/v/mount"); err == nil {
		t.Error("a directory with data in it was removed")
	}
	if _, err := load(dir + "/v"); err != nil {
		t.Errorf("what is needed to try again is gone: %v", err)
	}
}
