package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"k8s.io/utils/ptr"

	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
	"clipper/node/runtime/embedded/crilog"
)

func TestPlanRotation(t *testing.T) {
	for _, tc := range []struct {
		name             string
		files            string
		max              int
		remove, compress string
	}{
		{"first", "", 5, "", ""},
		{"second", "l.1", 5, "", "l.1"},
		{"room for one more", "l.1.gz l.2.gz l.3", 5, "", "l.3"},
		{"full", "l.1.gz l.2.gz l.3.gz l.4", 5, "l.1.gz", "l.4"},
		{"far too many", "l.1.gz l.2.gz l.3.gz l.4.gz l.5 l.6", 3, "l.1.gz l.2.gz l.3.gz l.4.gz l.5", "l.6"},
		{"two files", "l.1", 2, "l.1", ""},
		{"left of a compression", "l.1 l.1.gz.tmp l.1.tmp", 5, "l.1.gz.tmp l.1.tmp", "l.1"},
		{"compressed and not removed", "l.1 l.1.gz l.2", 5, "l.1", "l.2"},
	} {
		p := planRotation(strings.Fields(tc.files), tc.max)
		if got := strings.Join(p.remove, " "); got != tc.remove {
			t.Errorf("%s: removes %q, want %q", tc.name, got, tc.remove)
		}
		if got := strings.Join(p.compress, " "); got != tc.compress {
			t.Errorf("%s: compresses %q, want %q", tc.name, got, tc.compress)
		}
	}
}

// container is one that writes a log.
type container struct {
	t     *testing.T
	path  string
	mu    sync.Mutex
	log   *crilog.File
	state runtime.State
	ended bool // though List does not say so yet
}

func newContainer(t *testing.T) *container {
	c := &container{t: t, path: filepath.Join(t.TempDir(), "0.log"), state: runtime.Running}
	var err error
	if c.log, err = crilog.Open(c.path, crilog.Limits{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.log.Close() })
	return c
}

func (c *container) say(text string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.log.Write(crilog.Stdout, []byte(text)); err != nil {
		c.t.Error(err)
	}
}

func (c *container) List(context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error) {
	return nil, []runtime.ContainerStatus{{ID: "id", State: c.state, LogPath: c.path}}, nil
}

func (c *container) ReopenLog(context.Context, string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil
	}
	return c.log.Reopen()
}

func (c *container) files() (names []string) {
	entries, err := os.ReadDir(filepath.Dir(c.path))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (c *container) rotator(size string, files int32) *Rotator {
	c.t.Helper()
	settings := kubeletconfig.Default()
	settings.ContainerLogMaxSize, settings.ContainerLogMaxFiles = size, ptr.To(files)
	r, err := NewRotator(c, settings)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func TestRotation(t *testing.T) {
	c := newContainer(t)
	r := c.rotator("1Ki", 4)
	round := func(text string) {
		t.Helper()
		c.say(text)
		if err := r.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	round("short\n")
	if got := c.files(); len(got) != 1 {
		t.Fatalf("a short log was rotated: %v", got)
	}
	for i := range 6 {
		round(fmt.Sprintf("%d%s\n", i, strings.Repeat("x", 1<<10)))
	}
	// The current one, the one before as it is, and two compressed ones.
	var plain, packed []string
	files, err := crilog.Rotated(c.path)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range append(files, c.path) {
		if strings.HasSuffix(f, compressed) {
			packed = append(packed, f)
		} else {
			plain = append(plain, f)
		}
	}
	if len(packed) != 2 || len(plain) != 2 {
		t.Fatalf("got %v", c.files())
	}
	f, err := os.Open(packed[1])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(z); err != nil || !bytes.Contains(text, []byte("stdout F 4x")) {
		t.Errorf("the newest compressed file holds %.60q, %v", text, err)
	}
	c.state = runtime.Exited
	c.say(strings.Repeat("y", 4<<10) + "\n")
	before := c.files()
	round("")
	if got := c.files(); !slices.Equal(got, before) {
		t.Errorf("the log of a container that has ended was rotated: %v", got)
	}
}

func TestVanishedLogIsMadeAnew(t *testing.T) {
	c := newContainer(t)
	c.say("lost\n")
	if err := os.Remove(c.path); err != nil {
		t.Fatal(err)
	}
	if err := c.rotator("1Ki", 4).round(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.say("found\n")
	if text, err := os.ReadFile(c.path); err != nil || !bytes.Contains(text, []byte("found")) {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestRemoveLog(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1.log", "1.log.20260101-000000", "1.log.20250101-000000.gz", "1.log.x.tmp", "11.log", "2.log"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // again without harm
		if err := RemoveLog(filepath.Join(dir, "1.log")); err != nil {
			t.Fatal(err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(left) != 2 {
		t.Errorf("left: %v", left)
	}
	if err := RemoveLog(filepath.Join(dir, "gone", "1.log")); err != nil {
		t.Error(err)
	}
}

func TestLinks(t *testing.T) {
	root := t.TempDir()
	l := Links(filepath.Join(root, "containers"))
	log := filepath.Join(root, "pods", "ns_web_uid", "c", "0.log")
	if err := os.MkdirAll(filepath.Dir(log), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(log, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Add("ns", "web", "c", "0123456789", log); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(root, "containers", "web_ns_c-0123456789.log")
	if text, err := os.ReadFile(name); err != nil || string(text) != "hello" {
		t.Errorf("through the link: %q, %v", text, err)
	}
	if err := l.Add("ns", strings.Repeat("w", 253), "c", "0123456789", log); err != nil {
		t.Errorf("a long name: %v", err)
	}
	// A pod of the same name that came after it.
	if err := l.Add("ns", "web", "c", "1", filepath.Join(root, "pods", "ns_web_uid2", "c", "0.log")); err != nil {
		t.Fatal(err)
	}
	if err := l.RemovePod("ns", "web", filepath.Join(root, "pods", "ns_web_uid")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(name); err == nil {
		t.Error("the link of a pod that is gone is there")
	}
	if _, err := os.Lstat(string(l) + "/web_ns_c-1.log"); err != nil {
		t.Error(err)
	}
	if err := l.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(string(l) + "/*"); len(left) != 1 { // of the long name; the other leads nowhere
		t.Errorf("left: %v", left)
	}
	for range 2 {
		if err := l.Remove("ns", "other", "c", "1"); err != nil {
			t.Error(err)
		}
	}
}

const head = "2026-05-04T01:02:0%d.5Z stdout %s %s"

func TestRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	content := fmt.Sprintf(head, 1, "F", "one\n") + fmt.Sprintf(head, 2, "P", "tw\n") + fmt.Sprintf(head, 3, "F", "o\n") +
		"nonsense\n" + "2026-05-04T01:02:04Z stderr F:more three\n" + fmt.Sprintf(head, 5, "F", "cut")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	since := time.Date(2026, 5, 4, 1, 2, 4, 0, time.UTC)
	for _, tc := range []struct {
		o    Options
		want string
	}{
		{Options{Tail: -1, Limit: -1}, "one\ntwo\nthree\ncut"},
		{Options{Tail: -1, Limit: -1, Since: since}, "three\ncut"},
		{Options{Tail: 0, Limit: -1}, ""},
		{Options{Tail: 1, Limit: -1}, "three\n"},
		{Options{Tail: 3, Limit: -1}, "o\nthree\n"},
		{Options{Tail: 100, Limit: -1}, "one\ntwo\nthree\ncut"},
		{Options{Tail: -1, Limit: 5}, "one\nt"},
		{Options{Tail: -1, Limit: 4}, "one\n"},
		{Options{Tail: -1, Limit: -1, Timestamps: true}, "2026-05-04T01:02:01.500000000Z one\n2026-05-04T01:02:02.500000000Z two\n" +
			"2026-05-04T01:02:04.000000000Z three\n2026-05-04T01:02:05.500000000Z cut"},
		{Options{Tail: -1, Limit: 10, Timestamps: true}, "2026-05-04"},
	} {
		var out bytes.Buffer
		if err := Read(t.Context(), path, tc.o, &out, nil, nil); err != nil || out.String() != tc.want {
			t.Errorf("%+v: got %q, %v; want %q", tc.o, out.String(), err, tc.want)
		}
	}
	if err := os.WriteFile(path, []byte("no log at all\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Read(t.Context(), path, Options{Tail: -1, Limit: -1}, io.Discard, nil, nil); err == nil || !strings.Contains(err.Error(), "unsupported log format") {
		t.Errorf("got error %v", err)
	}
	err := Read(t.Context(), path+".gone", Options{Tail: -1, Limit: -1}, io.Discard, nil, nil)
	if err == nil || !strings.HasPrefix(err.Error(), `failed to try resolving symlinks in path "`+path+`.gone": lstat `) {
		t.Errorf("got error %v", err)
	}
}

// TestFollowAcrossRotation: every line once and in order, while the log is rotated as fast as it can be.
func TestFollowAcrossRotation(t *testing.T) {
	c := newContainer(t)
	const lines = 5000
	var alive atomic.Bool
	alive.Store(true)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range lines {
			c.say(fmt.Sprintf("%d\n", i))
		}
		alive.Store(false)
	})
	rotations := 0
	wg.Go(func() {
		for alive.Load() {
			// Without the removal and compression of old files: how far a reader may fall behind is not the question.
			files, err := crilog.Rotated(c.path)
			if err != nil {
				t.Error(err)
			}
			if err := os.Rename(c.path, crilog.RotatedName(c.path, files, time.Now())); err != nil {
				t.Error(err)
			}
			if err := c.ReopenLog(t.Context(), "id"); err != nil {
				t.Error(err)
			}
			rotations++
		}
	})
	var out bytes.Buffer
	if err := Read(t.Context(), c.path, Options{Follow: true, Tail: -1, Limit: -1}, &out, alive.Load, func() {}); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	first := 0
	if _, err := fmt.Sscan(got[0], &first); err != nil { // reading began after some lines perhaps
		t.Fatal(err)
	}
	for i, line := range got {
		if line != fmt.Sprint(first+i) {
			t.Fatalf("line %d is %q, want %d; after %d rotations", i, line, first+i, rotations)
		}
	}
	if first+len(got) != lines || rotations < 10 {
		t.Errorf("the last line is %d after %d rotations", first+len(got), rotations)
	}
}

func FuzzEntry(f *testing.F) {
	f.Add([]byte("2026-05-04T01:02:03.5Z stdout P:x text\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		l := entryWriter{w: io.Discard, o: Options{Timestamps: true, Limit: 10}, left: 10, fresh: true}
		_ = l.entry(line)
	})
}

// TestFollowBehindCompression: the file that is being read is compressed away before the reader is through.
func TestFollowBehindCompression(t *testing.T) {
	c := newContainer(t)
	r := c.rotator("0", 5)
	c.say("one\n")
	var out bytes.Buffer
	var alive atomic.Bool
	alive.Store(true)
	flushed := 0
	flush := func() {
		if flushed++; flushed > 1 {
			return
		}
		for _, text := range []string{"two\n", "three\n"} { // two rotations while the reader is in the first file
			if err := r.round(t.Context()); err != nil {
				t.Error(err)
			}
			c.say(text)
		}
		alive.Store(false)
	}
	if err := Read(t.Context(), c.path, Options{Follow: true, Tail: -1, Limit: -1}, &out, alive.Load, flush); err != nil {
		t.Fatal(err)
	}
	if out.String() != "one\ntwo\nthree\n" {
		t.Errorf("got %q", out.String())
	}
}

// TestEndDuringRotation: the log of a container that ends just then stays where it is looked for.
func TestEndDuringRotation(t *testing.T) {
	c := newContainer(t)
	c.say("last words\n")
	c.ended = true
	if err := c.rotator("0", 5).round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(c.path); err != nil || !bytes.Contains(text, []byte("last words")) || len(c.files()) != 1 {
		t.Errorf("got %q, %v, %v", text, err, c.files())
	}
}
