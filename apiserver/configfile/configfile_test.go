package configfile

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// TestFollow: a file that is written, replaced, or reached by another link is read again at once.
func TestFollow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "first")
	seen := make(chan string, 100)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Follow(ctx, file, func(context.Context) {
			text, _ := os.ReadFile(file)
			seen <- string(text)
		})
	}()
	until := func(want string) {
		t.Helper()
		for deadline := time.After(period / 2); ; {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("%q not seen", want)
			}
		}
	}
	until("first")
	write(file, "written")
	until("written")
	write(file+".new", "renamed")
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	until("renamed")
	swap := func(target string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(filepath.Join(dir, version, "config"), version)
	}
	swap("one")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/config", file); err != nil {
		t.Fatal(err)
	}
	until("one")
	swap("two")
	until("two")
	stop()
	<-done
}

// TestMissed: after an error of the watcher, which may have missed something, the file is looked at.
func TestMissed(t *testing.T) {
	w := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
	looked := make(chan struct{}, 10)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow(ctx, w, "file", func(context.Context) { looked <- struct{}{} })
	}()
	deadline := time.After(period / 2)
	for range 2 { // at the start, and once more
		select {
		case <-looked:
		case <-deadline:
			t.Fatal("not looked at")
		}
		select {
		case w.Errors <- fsnotify.ErrEventOverflow:
		case <-deadline:
			t.Fatal("nobody hears the watcher out")
		}
	}
	stop()
	<-done
}
