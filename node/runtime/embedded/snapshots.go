package embedded

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/image"
	"clipper/node/runtime"
)

// Snapshots make the root file systems of containers. image.Store is one.
type Snapshots interface {
	// Prepare mounts the root file system of container id, made from an image.
	Prepare(ctx context.Context, id, image string) (image.Snapshot, *v1.ConfigFile, error)
	// PrepareMapped is Prepare for one in a user namespace.
	PrepareMapped(ctx context.Context, id, image string, owners image.Owners) (image.Snapshot, *v1.ConfigFile, error)
	// RemoveSnapshot removes it; it is no error if there is none.
	RemoveSnapshot(ctx context.Context, id string) error
	// RetainSnapshots removes all that keep does not name.
	RetainSnapshots(ctx context.Context, keep func(id string) bool) error
	// SnapshotUsage is what a container has written.
	SnapshotUsage(ctx context.Context, id string) (image.Usage, error)
	// ImageStatus describes an image.
	ImageStatus(ctx context.Context, ref string) (runtime.Image, error)
}
