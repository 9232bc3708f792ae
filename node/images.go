package node

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/image"
	"clipper/node/runtime"
	"clipper/node/volume"
)

// snapshotter is what an image store that can mount images offers beyond the contract of runtimes.
type snapshotter interface {
	runtime.Images
	Prepare(ctx context.Context, id, ref string) (image.Snapshot, *v1.ConfigFile, error)
	RemoveSnapshot(ctx context.Context, id string) error
}

// imageVolumes mounts images as volumes: snapshots that no container belongs to. Writing is prevented by
// mounting them read-only into containers.
type imageVolumes struct{ snapshotter }

func (i imageVolumes) MountImage(ctx context.Context, id, ref string) (string, error) {
	s, _, err := i.Prepare(ctx, id, ref)
	return s.Rootfs, err
}

func (i imageVolumes) UnmountImage(ctx context.Context, id string) error {
	return i.RemoveSnapshot(ctx, id)
}

// imagesForVolumes returns nil if the store cannot mount images.
func imagesForVolumes(images runtime.Images) volume.Images {
	if s, ok := images.(snapshotter); ok {
		return imageVolumes{s}
	}
	return nil
}
