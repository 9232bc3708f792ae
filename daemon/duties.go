package daemon

import (
	"context"

	"golang.org/x/sync/errgroup"

	"clipper/api"
	"clipper/leader"
)

// duty has run do its work for as long as this server is the one that does it: always, unless several share the
// cluster's state. name is that of the lease that they compete for.
func (cp *controlPlane) duty(ctx context.Context, client api.Client, name string, run func(ctx context.Context, group *errgroup.Group)) error {
	work := func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		run(ctx, group)
		return group.Wait()
	}
	if !cp.shared {
		return work(ctx)
	}
	identity, err := leader.NewIdentity()
	if err != nil {
		return err
	}
	return leader.Lead(ctx, leader.Duty{Name: name, Client: client, Identity: identity, Run: work})
}
