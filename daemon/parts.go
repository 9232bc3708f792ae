package daemon

import (
	"context"

	"golang.org/x/sync/errgroup"

	"clipper/apiserver/authz"
)

// guard puts admission and reviews into the pipeline.
func (cp *controlPlane) guard(authorizer *authz.Authorizer) {}

// runControllers starts the control loops in group.
func (cp *controlPlane) runControllers(ctx context.Context, group *errgroup.Group) {}

func (cp *controlPlane) runNode(ctx context.Context) error { <-ctx.Done(); return nil }
