package bootstrap

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"clipper/api"
)

// keepPeriod is how long what no cluster is to be without can be missing. Upstream's figure.
const keepPeriod = 10 * time.Second

// Keep makes again, until ctx ends, what somebody has deleted and upstream's servers make again: the namespaces of the
// system, and the Service through which pods reach the API, with its endpoints.
func Keep(ctx context.Context, c api.Client, cfg Config) error {
	ticker := time.NewTicker(keepPeriod)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		err := restore(ctx, c, cfg)
		if err != nil && !failing && ctx.Err() == nil {
			slog.Warn("an object of the cluster's own is missing and cannot be made again yet", "retry", keepPeriod, "err", err)
		}
		failing = err != nil
	}
}

func restore(ctx context.Context, c api.Client, cfg Config) error {
	r := &run{c: c, running: true}
	r.group, r.ctx = errgroup.WithContext(ctx)
	for _, ns := range namespaces() {
		ensure(r, api.Namespaces, ns, nil)
	}
	if err := r.group.Wait(); err != nil {
		return err
	}
	r.group, r.ctx = errgroup.WithContext(ctx)
	r.apiService(cfg)
	return r.group.Wait()
}
