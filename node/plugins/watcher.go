package plugins

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"

	"clipper/node/kubeletdir"
)

// A Watcher registers the plug-ins whose sockets appear. Run's goroutine alone uses sockets.
type Watcher struct {
	dir      kubeletdir.Dir
	handlers map[string]Handler
	sockets  map[string]*attendance
	wg       sync.WaitGroup
}

// An attendance is the goroutine that looks after one socket.
type attendance struct {
	file os.FileInfo
	end  context.CancelFunc
	done chan struct{}
}

// Run registers plug-ins until ctx ends. It then drops them all: they will find the node's next agent.
func (w *Watcher) Run(ctx context.Context) error {
	root := w.dir.Join(RegistryDir)
	for _, dir := range []string{root, w.dir.Join(ServiceDir)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("create the plug-ins' folder: %w", err)
		}
	}
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch for plug-ins: %w; raise fs.inotify.max_user_instances if there are too many", err)
	}
	defer watch.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer w.wg.Wait()
	defer cancel()
	if err := watch.Add(root); err != nil {
		return fmt.Errorf("watch %s for plug-ins: %w", root, err)
	}
	w.scan(ctx, watch, root)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev := <-watch.Events:
			w.noticed(ctx, watch, ev)
		case err := <-watch.Errors:
			slog.Warn("Watching for plug-ins missed something; looking at all of them", "err", err)
			w.prune()
			w.scan(ctx, watch, root)
		}
	}
}

func (w *Watcher) noticed(ctx context.Context, watch *fsnotify.Watcher, ev fsnotify.Event) {
	switch {
	case ev.Has(fsnotify.Create):
		w.appeared(ctx, watch, ev.Name)
	case ev.Has(fsnotify.Remove), ev.Has(fsnotify.Rename):
		if _, err := os.Lstat(ev.Name); errors.Is(err, fs.ErrNotExist) { // else it has been made anew
			w.drop(ev.Name)
		}
	}
}

// appeared takes notice of a new file: a socket is a plug-in, a folder may contain some.
func (w *Watcher) appeared(ctx context.Context, watch *fsnotify.Watcher, path string) {
	info, err := os.Stat(path)
	switch {
	case err != nil || strings.HasPrefix(filepath.Base(path), "."):
	case info.IsDir():
		if err := watch.Add(path); err != nil {
			slog.Warn("A folder of plug-ins cannot be watched", "path", path, "err", err)
		}
		w.scan(ctx, watch, path)
	case info.Mode()&fs.ModeSocket != 0:
		w.take(ctx, path, info)
	}
}

// scan looks at what is in dir.
func (w *Watcher) scan(ctx context.Context, watch *fsnotify.Watcher, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		slog.Warn("A folder of plug-ins cannot be read", "path", dir, "err", err)
	}
	for _, e := range entries {
		w.appeared(ctx, watch, filepath.Join(dir, e.Name()))
	}
}

// take starts to look after a socket. One that is looked after already is left alone if it is still the same file.
func (w *Watcher) take(ctx context.Context, path string, info os.FileInfo) {
	before := w.sockets[path]
	if before != nil && os.SameFile(before.file, info) && before.file.ModTime().Equal(info.ModTime()) {
		return
	}
	w.drop(path)
	ctx, cancel := context.WithCancel(ctx)
	a := &attendance{file: info, end: cancel, done: make(chan struct{})}
	w.sockets[path] = a
	w.wg.Go(func() {
		defer close(a.done)
		if before != nil {
			<-before.done
		}
		w.attend(ctx, path)
	})
}

func (w *Watcher) drop(path string) {
	if a := w.sockets[path]; a != nil {
		a.end()
		delete(w.sockets, path)
	}
}

// prune drops sockets that are gone.
func (w *Watcher) prune() {
	for path := range w.sockets {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			w.drop(path)
		}
	}
}
