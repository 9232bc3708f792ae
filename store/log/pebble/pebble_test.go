package pebble

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"clipper/store/log"
	"clipper/store/log/logtest"
)

func TestContract(t *testing.T) {
	logtest.Run(t, func(t *testing.T, dir string) log.Log {
		l, err := Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return l
	})
}

func entry(rev int64, size int) log.Entry {
	return log.Entry{
		Key: fmt.Sprintf("/registry/things/ns/%06d", rev), Value: []byte(strings.Repeat("x", size)),
		Created: rev, Revision: rev,
	}
}

// TestFullDisk fails every write from some moment on, as a full disk does. Append must say so and name
// the cause, in the foreground or when a background flush hits it first; what was appended is still
// there afterwards.
func TestFullDisk(t *testing.T) {
	for _, after := range []int64{0, 1, 5, 50, 500} {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			var armed atomic.Bool
			var left atomic.Int64
			left.Store(after)
			full := errorfs.InjectorFunc(func(op errorfs.Op) error {
				if !armed.Load() || op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
					return nil
				}
				if left.Add(-1) >= 0 {
					return nil
				}
				return syscall.ENOSPC
			})
			l, err := Open("data", errorfs.Wrap(mem, full))
			if err != nil {
				t.Fatal(err)
			}
			armed.Store(true)
			rev, acked := int64(0), int64(0)
			for {
				rev++
				if err = l.Append(rev, []log.Entry{entry(rev, 64<<10)}); err != nil {
					break
				}
				if acked = rev; rev > 10000 {
					t.Fatal("a full disk was never reported")
				}
			}
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("error %v does not say that the disk is full", err)
			}
			if again := l.Append(rev+1, []log.Entry{entry(rev+1, 10)}); again == nil {
				t.Error("a failed log took another append")
			}
			l.Close()
			// A crash: what was not synced is gone, what was acknowledged is not.
			crashed := mem.CrashClone(vfs.CrashCloneCfg{})
			l, err = Open("data", crashed)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got, err := l.Load(func(log.Entry) error { return nil })
			if err != nil || got < acked {
				t.Errorf("after the crash: revision %d, acknowledged were %d: %v", got, acked, err)
			}
		})
	}
}

// TestDamagedFile flips bytes in each kind of file that holds data.
func TestDamagedFile(t *testing.T) {
	for _, pattern := range []string{"*.sst", "*.log"} {
		t.Run(pattern, func(t *testing.T) {
			dir := t.TempDir()
			l, err := Open(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			for rev := int64(1); rev <= 200; rev++ {
				if err := l.Append(rev, []log.Entry{entry(rev, 1000)}); err != nil {
					t.Fatal(err)
				}
			}
			if pattern == "*.sst" {
				l.Close() // flushes
			}
			work := t.TempDir()
			if err := os.CopyFS(work+"/copy", os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			l.Close()
			damage(t, filepath.Join(work, "copy", pattern))
			l, err = Open(work+"/copy", nil)
			if err == nil {
				_, err = l.Load(func(log.Entry) error { return nil })
				l.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("damaged %s: error %v", pattern, err)
			}
		})
	}
}

// damage overwrites 16 bytes in the middle of the largest file that matches.
func damage(t *testing.T, pattern string) {
	t.Helper()
	files, _ := filepath.Glob(pattern)
	var largest string
	var size int64
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Size() > size {
			largest, size = f, st.Size()
		}
	}
	if largest == "" {
		t.Fatalf("no file matches %s", pattern)
	}
	f, err := os.OpenFile(largest, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := size / 2
	if strings.HasSuffix(pattern, ".log") {
		at = 100_000 // the file is longer than its contents
	}
	if _, err := f.WriteAt([]byte("sixteen bad bytes"), at); err != nil {
		t.Fatal(err)
	}
}

func TestOpenTwice(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("second open: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encode(nil, entry(300, 10)))
	f.Add([]byte{valueVersion, 0x80})
	f.Fuzz(func(t *testing.T, v []byte) {
		e, err := decode("/registry/pods/a/b", v)
		if err != nil {
			return
		}
		back, err := decode(e.Key, encode(nil, e))
		if err != nil || back.Revision != e.Revision || back.Created != e.Created || string(back.Value) != string(e.Value) {
			t.Errorf("%x: %+v came back as %+v: %v", v, e, back, err)
		}
	})
}
