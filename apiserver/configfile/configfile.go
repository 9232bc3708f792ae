// Package configfile follows the configuration files that a running server takes over when they change. Changes are
// noticed at once where the kernel tells of them, and from time to time in any case: not every file system does.
package configfile

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// period is how often a file is looked at of which nothing was heard. Upstream's figure.
	period = time.Minute
	// settle is the time for whoever writes a file in several steps.
	settle = 50 * time.Millisecond
)

// Follow calls look at once and then whenever file may have changed, until ctx ends.
func Follow(ctx context.Context, file string, look func(context.Context)) {
	w, err := watch(file)
	if err != nil {
		slog.Warn("a file is not watched; it is looked at from time to time", "file", file, "every", period, "err", err)
		w = &fsnotify.Watcher{} // nothing comes
	} else {
		defer w.Close()
	}
	follow(ctx, w, file, look)
}

func follow(ctx context.Context, w *fsnotify.Watcher, file string, look func(context.Context)) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			look(ctx)
			next.Reset(period)
		case e := <-w.Events:
			if concerns(e, file) {
				next.Reset(settle)
			}
		case <-w.Errors: // something may have been missed; a watcher that nobody hears out stops
			next.Reset(settle)
		}
	}
}

// watch watches the folder: a file is often replaced by another of its name, and would be lost sight of.
func watch(file string) (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	if err := w.Add(filepath.Dir(file)); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// concerns says whether e is about the file, or about the hidden link through which a mounted volume's files change all
// at once.
func concerns(e fsnotify.Event, file string) bool {
	name := filepath.Base(e.Name)
	return name == filepath.Base(file) || strings.HasPrefix(name, "..")
}
