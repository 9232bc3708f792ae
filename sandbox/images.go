package sandbox

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"clipper/image"
)

// LoadImages puts the images of archives into the store of every node. progress may be called from several
// goroutines at once.
func (s Sandbox) LoadImages(ctx context.Context, archives []string, progress func(string)) error {
	if err := preflight(); err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	rec, found, err := s.load()
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	if !found {
		return s.absent()
	}
	for _, a := range archives { // before the first is read: a typing mistake should cost nothing
		if _, err := os.Stat(a); err != nil {
			return fmt.Errorf("sandbox %s: load images: %w", s.Name, err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i := 1; i <= rec.Nodes; i++ {
		g.Go(func() error { return s.loadOn(ctx, i, archives, progress) })
	}
	return g.Wait()
}

func (s Sandbox) loadOn(ctx context.Context, i int, archives []string, progress func(string)) error {
	store, err := image.Open(image.NodeOptions(s.nodeDir(i)))
	if err != nil {
		return fmt.Errorf("sandbox %s: image store of %s: %w", s.Name, nodeName(i), err)
	}
	for _, a := range archives {
		if err := importArchive(ctx, store, a, nodeName(i), progress); err != nil {
			return fmt.Errorf("sandbox %s: load %s on %s: %w", s.Name, a, nodeName(i), err)
		}
	}
	return nil
}

func importArchive(ctx context.Context, store *image.Store, path, node string, progress func(string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = store.Import(ctx, f, "", func(_, _ int, names []string) {
		progress(fmt.Sprintf("%s: %s", node, strings.Join(names, ", ")))
	})
	return err
}
