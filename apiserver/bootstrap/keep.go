package bootstrap

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

// keepPeriod is how long what no cluster is to be without can be missing. Upstream's figure.
const keepPeriod = 10 * time.Second

// Keep makes again, until ctx ends, what somebody has deleted and upstream's servers make again: the namespaces of the
// system, and the Service through which pods reach the API, with its endpoints.
func Keep(ctx context.Context, c api.Client, cfg Config) error {
	ticker := time.NewTicker(keepPeriod)
	defer ticker.Stop()
	var known []string
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := revisions(c)
		if slices.Equal(now, known) {
			continue // as it was left: next to nothing is done, nor any memory touched, in a server at rest
		}
		err := restore(ctx, c, cfg)
		if known = now; err != nil {
			known = nil
		}
		if err != nil && !failing && ctx.Err() == nil {
			slog.Warn("an object of the cluster's own is missing and cannot be made again yet", "retry", keepPeriod, "err", err)
		}
		failing = err != nil
	}
}

// revisions are those of all that restore looks at, "" for what is missing.
func revisions(c api.Client) []string {
	var out []string
	for _, ns := range namespaces() {
		out = append(out, revision(c, api.Namespaces, "", ns.Name))
	}
	return append(out, revision(c, api.Services, metav1.NamespaceDefault, apiServiceName),
		revision(c, api.Endpoints, metav1.NamespaceDefault, apiServiceName), revision(c, api.EndpointSlices, metav1.NamespaceDefault, apiServiceName))
}

func revision[T api.Object](c api.Client, k api.Kind[T], namespace, name string) string {
	o, ok := k.View(c).Get(namespace, name)
	if !ok {
		return ""
	}
	return o.GetResourceVersion()
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
