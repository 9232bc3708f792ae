package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/node/kubeletconfig"
	"clipper/node/runtime"
	"clipper/node/runtime/embedded/crilog"
)

// A Runtime is what rotation needs of one.
type Runtime interface {
	List(ctx context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error)
	ReopenLog(ctx context.Context, containerID string) error
}

// A Rotator keeps the logs of running containers from growing without bound.
type Rotator struct {
	runtime  Runtime
	maxSize  int64 // negative: logs are left alone
	maxFiles int
	workers  int
	every    time.Duration
}

// Limits reads containerLogMaxSize and containerLogMaxFiles. A negative size means no limit.
func Limits(c *kubeletconfig.Configuration) (size int64, files int, err error) {
	q, err := resource.ParseQuantity(c.ContainerLogMaxSize)
	if err != nil {
		return 0, 0, fmt.Errorf("failed to parse container log max size %q: %w", c.ContainerLogMaxSize, err)
	}
	size, ok := q.AsInt64()
	if !ok {
		return 0, 0, fmt.Errorf("failed to parse container log max size %q: invalid max log size", c.ContainerLogMaxSize)
	}
	return size, int(*c.ContainerLogMaxFiles), nil
}

// flood is by how much a log may outgrow its limit between two looks at it.
const flood = 10

// Flood returns when a log must be rotated at once, by whoever writes it, for the disk's sake: a container may
// write gigabytes before the Rotator looks again, or while there is no agent.
func Flood(c *kubeletconfig.Configuration) (crilog.Limits, error) {
	size, files, err := Limits(c)
	if err != nil || size < 0 {
		return crilog.Limits{}, err
	}
	return crilog.Limits{Size: max(flood*size, 1<<20), Files: files}, nil
}

// NewRotator returns a rotator with the settings of a node.
func NewRotator(rt Runtime, c *kubeletconfig.Configuration) (*Rotator, error) {
	size, files, err := Limits(c)
	if err != nil {
		return nil, err
	}
	return &Rotator{runtime: rt, maxSize: size, maxFiles: files, workers: int(*c.ContainerLogMaxWorkers), every: c.ContainerLogMonitorInterval.Duration}, nil
}

// Run looks at the logs now and then until ctx ends.
func (r *Rotator) Run(ctx context.Context) error {
	if r.maxSize < 0 {
		return nil
	}
	tick := time.NewTicker(r.every)
	defer tick.Stop()
	for {
		if err := r.round(ctx); err != nil && ctx.Err() == nil {
			slog.Warn("Rotating the containers' logs failed; it will be retried", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// round looks at every running container once. One that has ended writes no more: its log stays as it is.
func (r *Rotator) round(ctx context.Context) error {
	_, containers, err := r.runtime.List(ctx)
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	var group errgroup.Group
	group.SetLimit(r.workers)
	for i := range containers {
		c := &containers[i]
		if c.State != runtime.Running || c.LogPath == "" {
			continue
		}
		group.Go(func() error {
			if err := r.look(ctx, c); err != nil && ctx.Err() == nil {
				slog.Warn("Rotating a log failed; it will be retried", "container", c.ID, "log", c.LogPath, "err", err)
			}
			return nil
		})
	}
	return group.Wait()
}

// look rotates one container's log if it is time. One that somebody has removed is made anew.
func (r *Rotator) look(ctx context.Context, c *runtime.ContainerStatus) error {
	info, err := os.Stat(c.LogPath)
	if errors.Is(err, fs.ErrNotExist) {
		return r.runtime.ReopenLog(ctx, c.ID)
	}
	if err != nil {
		return err
	}
	if info.Size() < r.maxSize {
		return nil
	}
	return r.rotate(ctx, c.ID, c.LogPath)
}

func (r *Rotator) rotate(ctx context.Context, id, path string) error {
	files, err := crilog.Rotated(path)
	if err != nil {
		return err
	}
	p := planRotation(files, r.maxFiles)
	for _, f := range p.remove {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove old log: %w", err)
		}
	}
	for _, f := range p.compress {
		if err := compress(f); err != nil {
			return fmt.Errorf("compress old log: %w", err)
		}
	}
	old := crilog.RotatedName(path, files, time.Now())
	if err := os.Rename(path, old); err != nil {
		return fmt.Errorf("move log away: %w", err)
	}
	if err := r.runtime.ReopenLog(ctx, id); err != nil {
		// The container writes on into the file that was moved: it is still the current one.
		return errors.Join(fmt.Errorf("start a new log: %w", err), os.Rename(old, path))
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) { // it has ended meanwhile, and says no more
		return os.Rename(old, path)
	}
	return nil
}

// compress replaces a file by a compressed one. Interrupted anywhere, one of the two is whole.
func compress(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	tmp := path + temporary
	defer os.Remove(tmp) // fails after the rename, as it should
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode())
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err := errors.Join(err, z.Close(), out.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path+compressed); err != nil {
		return err
	}
	return os.Remove(path)
}
