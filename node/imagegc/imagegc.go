// Package imagegc removes images that no pod needs: from above the high threshold of disk use down to the low
// one, the longest unused first, and, if asked, those that have not been used for long. What to remove is
// decided by plan and outdated, pure functions.
package imagegc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"clipper/node/machine"
	"clipper/node/runtime"
)

// every is how often the disk is looked at. Upstream's figure.
const every = 5 * time.Minute

// Config is what a Collector needs. All fields but MaxAge are required.
type Config struct {
	Images    runtime.Images
	Dir       string // on the file system that holds images
	High, Low int    // percent of disk use: above the one, down to the other
	MinAge    time.Duration
	MaxAge    time.Duration // unused for longer, an image goes whatever the disk; 0: never
	// InUse returns the references and IDs of images that containers of this node's pods use.
	InUse func() map[string]bool
	// Event records a warning about the node.
	Event func(reason, message string)
}

// A Collector keeps the images' disk from filling up.
type Collector struct {
	cfg     Config
	removed *prometheus.CounterVec

	mu    sync.Mutex       // one collection at a time
	seen  map[string]times // by image ID
	began time.Time
}

// times are when an image was first seen by this process and last in use. One that was there before this
// process counts as seen at its start: pods that use it may not have been looked at yet.
type times struct{ first, used time.Time }

// New returns a collector. It does nothing until Run or RemoveUnused.
func New(cfg Config) *Collector {
	return &Collector{cfg: cfg, seen: map[string]times{}, removed: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubelet_image_garbage_collected_total", Help: "[ALPHA] Total number of images garbage collected by the kubelet, whether through disk usage or image age.",
	}, []string{"reason"})}
}

// Collectors returns what a registry of metrics takes.
func (c *Collector) Collectors() []prometheus.Collector { return []prometheus.Collector{c.removed} }

// Run looks at the disk every few minutes until ctx ends.
func (c *Collector) Run(ctx context.Context) error {
	if c.cfg.High == 100 && c.cfg.MaxAge == 0 {
		<-ctx.Done() // nothing is ever full or old enough
		return ctx.Err()
	}
	c.began = time.Now()
	t := time.NewTicker(every)
	defer t.Stop()
	for failed := false; ; {
		err := c.collect(ctx, time.Now())
		if err != nil && ctx.Err() == nil {
			slog.Warn("Collecting unused images failed; it will be retried", "err", err)
			if failed {
				c.cfg.Event("ImageGCFailed", err.Error())
			}
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func (c *Collector) collect(ctx context.Context, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	unused, err := c.unused(ctx, now)
	if err != nil {
		return err
	}
	old, rest := c.outdated(unused, now)
	if _, err := c.remove(ctx, old, "age"); err != nil {
		return fmt.Errorf("wanted to free images older than %v, encountered errors in image deletion: %w", c.cfg.MaxAge, err)
	}
	fs, err := machine.FileSystemOf(c.cfg.Dir)
	if err != nil {
		return err
	}
	if fs.Bytes == 0 {
		c.cfg.Event("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
		return errors.New("invalid capacity 0 on image filesystem")
	}
	need, victims := c.plan(fs.Bytes, fs.BytesFree, c.grown(rest, now))
	freed, err := c.remove(ctx, victims, "space")
	if err != nil {
		return fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion: %w", need, freed, err)
	}
	if freed < need {
		message := fmt.Sprintf("Insufficient free disk space on the node's image filesystem (%d%% of %s used). "+
			"Failed to free sufficient space by deleting unused images (freed %d bytes). "+
			"Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
			used(fs.Bytes, fs.BytesFree), size(fs.Bytes), freed)
		c.cfg.Event("FreeDiskSpaceFailed", message)
		return errors.New(message)
	}
	return nil
}

// size renders bytes for people.
func size(bytes int64) string {
	if bytes < 1024 {
		return fmt.Sprintf("%d B", bytes)
	}
	f, unit := float64(bytes)/1024, 0
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	for ; f >= 1024 && unit < len(units)-1; unit++ {
		f /= 1024
	}
	return fmt.Sprintf("%.1f %s", f, units[unit])
}

// RemoveUnused removes all images that nobody uses, but for those just pulled.
func (c *Collector) RemoveUnused(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	unused, err := c.unused(ctx, now)
	if err != nil {
		return err
	}
	_, err = c.remove(ctx, c.grown(unused, now), "space")
	return err
}

func (c *Collector) remove(ctx context.Context, images []runtime.Image, reason string) (freed int64, err error) {
	var errs []error
	for _, img := range images {
		if err := c.cfg.Images.RemoveImage(ctx, img.ID); err != nil {
			errs = append(errs, fmt.Errorf("remove image %s: %w", img.ID, err))
			continue
		}
		slog.Info("Removed an unused image", "image", img.ID, "size", img.Size, "reason", reason)
		c.removed.WithLabelValues(reason).Inc()
		delete(c.seen, img.ID)
		freed += img.Size
	}
	return freed, errors.Join(errs...)
}

// unused returns the images that nobody uses and that are not pinned, the longest unused first.
func (c *Collector) unused(ctx context.Context, now time.Time) ([]runtime.Image, error) {
	images, err := c.cfg.Images.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	c.note(images, c.cfg.InUse(), now)
	out := slices.DeleteFunc(images, func(img runtime.Image) bool { return img.Pinned || c.seen[img.ID].used.Equal(now) })
	slices.SortStableFunc(out, func(a, b runtime.Image) int {
		x, y := c.seen[a.ID], c.seen[b.ID]
		if n := x.used.Compare(y.used); n != 0 {
			return n
		}
		return x.first.Compare(y.first)
	})
	return out, nil
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
		if slices.ContainsFunc(slices.Concat([]string{img.ID}, img.Tags, img.Digests), func(name string) bool { return inUse[name] }) {
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

// outdated splits off what has not been used for longer than the maximum age. Nothing is, before this process
// has watched for that long.
func (c *Collector) outdated(unused []runtime.Image, now time.Time) (old, rest []runtime.Image) {
	if c.cfg.MaxAge == 0 || now.Sub(c.began) <= c.cfg.MaxAge {
		return nil, unused
	}
	for _, img := range unused {
		last := c.seen[img.ID].used
		if first := c.seen[img.ID].first; last.Before(first) {
			last = first
		}
		if now.Sub(last) > c.cfg.MaxAge {
			old = append(old, img)
		} else {
			rest = append(rest, img)
		}
	}
	return old, rest
}

// grown leaves out what has just arrived: a container is about to need it.
func (c *Collector) grown(images []runtime.Image, now time.Time) []runtime.Image {
	return slices.DeleteFunc(images, func(img runtime.Image) bool { return now.Sub(c.seen[img.ID].first) < c.cfg.MinAge })
}

// used returns how full a disk is, in percent.
func used(capacity, available int64) int { return 100 - int(min(available, capacity)*100/capacity) }

// plan returns how much has to be freed and which of the candidates do it.
func (c *Collector) plan(capacity, available int64, candidates []runtime.Image) (need int64, victims []runtime.Image) {
	if used(capacity, available) < c.cfg.High {
		return 0, nil
	}
	need = capacity*int64(100-c.cfg.Low)/100 - available
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
