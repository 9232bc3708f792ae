// Package imagegc removes images that no pod needs when the disk runs full: from above the high threshold
// down to below the low one, the longest unused first. What to remove is decided by plan, a pure function.
package imagegc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"clipper/node/runtime"
)

// Thresholds of disk use, in percent, and how often and how young images are looked at. Upstream's defaults.
const (
	High   = 85
	Low    = 80
	Every  = 5 * time.Minute
	MinAge = 2 * time.Minute
)

// Config is what a Collector needs. All fields are required.
type Config struct {
	Images runtime.Images
	Dir    string // on the file system that holds images
	// InUse returns the references and IDs of images that containers of this node's pods use.
	InUse func() map[string]bool
	// Failed is told when not enough could be freed.
	Failed func(message string)
}

// A Collector keeps the images' disk from filling up.
type Collector struct {
	cfg  Config
	seen map[string]times // by image ID; Run's goroutine's own
}

// times are when an image was first seen by this process and last in use.
type times struct{ first, used time.Time }

// New returns a collector. It does nothing until Run.
func New(cfg Config) *Collector { return &Collector{cfg: cfg, seen: map[string]times{}} }

// Run looks at the disk every few minutes until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	t := time.NewTicker(Every)
	defer t.Stop()
	for {
		if err := c.collect(ctx, time.Now()); err != nil && ctx.Err() == nil {
			slog.Warn("Collecting unused images failed; it will be retried", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (c *Collector) collect(ctx context.Context, now time.Time) error {
	images, err := c.cfg.Images.ListImages(ctx)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	c.note(images, c.cfg.InUse(), now)
	var fs unix.Statfs_t
	if err := unix.Statfs(c.cfg.Dir, &fs); err != nil {
		return fmt.Errorf("ask for the free space of %s: %w", c.cfg.Dir, err)
	}
	capacity, available := int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	need, victims := plan(capacity, available, c.candidates(images, now))
	var freed int64
	for _, v := range victims {
		if err := c.cfg.Images.RemoveImage(ctx, v.ID); err != nil {
			slog.Warn("Removing an unused image failed", "image", v.ID, "err", err)
			continue
		}
		slog.Info("Removed an unused image: the disk is filling up", "image", v.ID, "size", v.Size)
		freed += v.Size
	}
	if freed < need {
		c.cfg.Failed(fmt.Sprintf("Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", need, freed))
	}
	return nil
}

// note remembers which images are there and in use.
func (c *Collector) note(images []runtime.Image, inUse map[string]bool, now time.Time) {
	there := map[string]bool{}
	for _, img := range images {
		there[img.ID] = true
		t, ok := c.seen[img.ID]
		if !ok {
			t.first = now
		}
		if used(img, inUse) {
			t.used = now
		}
		c.seen[img.ID] = t
	}
	for id := range c.seen {
		if !there[id] {
			delete(c.seen, id)
		}
	}
}

func used(img runtime.Image, inUse map[string]bool) bool {
	for _, name := range slices.Concat([]string{img.ID}, img.Tags, img.Digests) {
		if inUse[name] {
			return true
		}
	}
	return false
}

// candidates returns the images that may go, the longest unused first.
func (c *Collector) candidates(images []runtime.Image, now time.Time) []runtime.Image {
	var out []runtime.Image
	for _, img := range images {
		t := c.seen[img.ID]
		if !img.Pinned && !t.used.Equal(now) && now.Sub(t.first) >= MinAge {
			out = append(out, img)
		}
	}
	slices.SortStableFunc(out, func(a, b runtime.Image) int {
		x, y := c.seen[a.ID], c.seen[b.ID]
		if n := x.used.Compare(y.used); n != 0 {
			return n
		}
		return x.first.Compare(y.first)
	})
	return out
}

// plan returns how much has to be freed and which of the candidates do it.
func plan(capacity, available int64, candidates []runtime.Image) (need int64, victims []runtime.Image) {
	if capacity <= 0 || 100-available*100/capacity < High {
		return 0, nil
	}
	need = capacity*(100-Low)/100 - available
	var freed int64
	for _, img := range candidates {
		if freed >= need {
			break
		}
		victims = append(victims, img)
		freed += img.Size
	}
	return need, victims
}
