package machine

import (
	"runtime"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMeminfo(t *testing.T) {
	info := parseMeminfo([]byte("MemTotal:  1000 kB\nMemFree:  100 kB\nInactive(file): 300 kB\nHugePages_Total:  7\nodd line\nBad: x kB\n"))
	if info["MemTotal"] != 1000<<10 || info["HugePages_Total"] != 7 || len(info) != 4 {
		t.Errorf("got %v", info)
	}
	if w := WorkingSet(info); w != 600<<10 {
		t.Errorf("working set is %d", w)
	}
}

func TestThisMachine(t *testing.T) {
	info, err := Meminfo()
	if err != nil || info["MemTotal"] <= WorkingSet(info) {
		t.Errorf("memory: %d used of %d, %v", WorkingSet(info), info["MemTotal"], err)
	}
	fs, err := FileSystemOf("/proc/..")
	if err != nil || fs.Bytes <= fs.BytesFree || fs.Inodes < fs.InodesFree {
		t.Errorf("file system: %+v, %v", fs, err)
	}
	if fs.BytesUsed <= 0 || fs.BytesUsed+fs.BytesFree > fs.Bytes || fs.InodesUsed+fs.InodesFree != fs.Inodes {
		t.Errorf("file system: parts do not fit: %+v", fs)
	}
	running, most, err := Tasks()
	if err != nil || running <= 0 || running >= most {
		t.Errorf("tasks: %d of %d, %v", running, most, err)
	}
	if cpus, err := CPUs(); err != nil || cpus.Size() < runtime.NumCPU() {
		t.Errorf("processors: %v, %v", cpus, err)
	}
	for other, want := range map[string]bool{"/": true, "/proc": false} {
		if same, err := SameFileSystem("/", other); err != nil || same != want {
			t.Errorf("/ and %s: %v, %v", other, same, err)
		}
	}
}

func TestStats(t *testing.T) {
	now := metav1.Now()
	st := FileSystem{Bytes: 10, BytesUsed: 7, BytesFree: 2, Inodes: 5, InodesUsed: 4, InodesFree: -1}.Stats(now)
	got := []uint64{*st.CapacityBytes, *st.UsedBytes, *st.AvailableBytes, *st.Inodes, *st.InodesUsed, *st.InodesFree}
	if want := []uint64{10, 7, 2, 5, 4, 0}; !slices.Equal(got, want) || st.Time != now {
		t.Errorf("got %v at %v", got, st.Time)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("MemTotal: 1 kB\n", "0.20 0.18 0.12 1/80 11206")
	f.Fuzz(func(t *testing.T, info, load string) {
		if w := WorkingSet(parseMeminfo([]byte(info))); w < 0 {
			t.Errorf("working set is %d", w)
		}
		_, _ = parseTasks(load)
	})
}
