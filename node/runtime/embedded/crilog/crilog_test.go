package crilog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open returns a log whose clock stands still.
func open(t *testing.T, limits Limits) (*File, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "0.log")
	l, err := Open(path, limits)
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return time.Date(2026, 5, 4, 3, 2, 1, 120, time.FixedZone("", 7200)) }
	t.Cleanup(func() { l.Close() })
	return l, path
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestWrite(t *testing.T) {
	const stamp = "2026-05-04T01:02:01.00000012Z "
	x, y := strings.Repeat("x", maxLine), strings.Repeat("y", 2*maxLine+1)
	for _, tc := range []struct {
		name string
		in   []string // stdout; with a leading "!" stderr
		want []string
	}{
		{"a line", []string{"hello\n"}, []string{"stdout F hello"}},
		{"in pieces", []string{"he", "llo\nwor", "ld\n"}, []string{"stdout F hello", "stdout F world"}},
		{"empty lines", []string{"\n\n"}, []string{"stdout F ", "stdout F "}},
		{"no end", []string{"rest"}, []string{"stdout P rest"}},
		{"two streams", []string{"a", "!b\n", "c\n"}, []string{"stderr F b", "stdout F ac"}},
		{"exactly full", []string{x + "\n"}, []string{"stdout F " + x}},
		{"one too long", []string{x, "z\n"}, []string{"stdout P " + x, "stdout F z"}},
		{"much too long", []string{y + "\n"}, []string{"stdout P " + y[:maxLine], "stdout P " + y[:maxLine], "stdout F y"}},
		{"carriage return stays", []string{"a\r\n"}, []string{"stdout F a\r"}},
		{"binary", []string{"a\x00\xff\n"}, []string{"stdout F a\x00\xff"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, path := open(t, Limits{})
			for _, in := range tc.in {
				s := Stdout
				if rest, ok := strings.CutPrefix(in, "!"); ok {
					s, in = Stderr, rest
				}
				if err := l.Write(s, []byte(in)); err != nil {
					t.Fatal(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			want := ""
			for _, w := range tc.want {
				want += stamp + w + "\n"
			}
			if got := read(t, path); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestRotate(t *testing.T) {
	l, path := open(t, Limits{Size: 100, Files: 3})
	if err := os.WriteFile(path+"-not-ours", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := l.Write(Stdout, fmt.Appendf(nil, "line %02d\n", i)); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(path + "*")
	if len(files) != 4 { // the current one, two old ones, and the one that is not ours
		t.Errorf("%q", files)
	}
	if got := read(t, path); !strings.HasSuffix(got, "line 19\n") || len(got) > 100 {
		t.Errorf("current: %q", got)
	}
}

func TestReopen(t *testing.T) {
	l, path := open(t, Limits{})
	_ = l.Write(Stdout, []byte("one\nhal"))
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	_ = l.Write(Stdout, []byte("f\n"))
	if got := read(t, path); !strings.HasSuffix(got, " stdout F half\n") || strings.Contains(got, "one") {
		t.Errorf("%q", got)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("reopened in a directory that is gone")
	}
	if err := l.Write(Stdout, []byte("still\n")); err != nil { // into the file that nobody sees: no worse
		t.Error(err)
	}
}

// FuzzWrite: however the bytes are cut, the same text comes out.
func FuzzWrite(f *testing.F) {
	f.Add([]byte("a\nb\n\nc"), 2)
	f.Add([]byte(strings.Repeat("long", 9000)), 7)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut < 1 || cut > 1<<16 || len(in) > 1<<17 || len(in)/cut > 1000 {
			t.Skip()
		}
		l, path := open(t, Limits{})
		for rest := in; len(rest) > 0; {
			n := min(cut, len(rest))
			if err := l.Write(Stderr, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		l.Close()
		var out strings.Builder
		for line := range strings.Lines(read(t, path)) {
			parts := strings.SplitN(line, " ", 4)
			text := parts[3]
			if parts[2] == "P" {
				text = text[:len(text)-1]
			}
			if len(text) > maxLine+1 {
				t.Fatalf("an entry of %d bytes", len(text))
			}
			out.WriteString(text)
		}
		if out.String() != string(in) {
			t.Errorf("%q, want %q", out.String(), in)
		}
	})
}

// BenchmarkWrite is a chatty container: lines of 80 bytes, read by the pipe-full.
func BenchmarkWrite(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "0.log"), Limits{Size: 10 << 20, Files: 2})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	p := []byte(strings.Repeat(strings.Repeat("x", 79)+"\n", 64<<10/80))
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Write(Stdout, p); err != nil {
			b.Fatal(err)
		}
	}
}

// TestFullDisk: what there was no room for is lost, but nothing else is spoilt by it.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("cannot mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	l, err := Open(filepath.Join(dir, "0.log"), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 48<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	for err == nil {
		err = l.Write(Stdout, []byte(strings.Repeat("x", 1000)+"\n"))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(Stdout, []byte("after\n")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(read(t, filepath.Join(dir, "0.log")), "\n"), "\n")
	if last := lines[len(lines)-1]; !strings.HasSuffix(last, "Z stdout F after") || strings.Contains(last, "x") {
		t.Errorf("the last line is %.100q", last)
	}
}
