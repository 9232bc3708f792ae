package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// Images is a CRI image service. It implements runtime.Images.
type Images struct {
	conn    *grpc.ClientConn
	service runtimeapi.ImageServiceClient
	// sandbox is the image that every sandbox needs, "" if the runtime needs none or pins it itself.
	sandbox string
}

var _ runtime.Images = (*Images)(nil)

// ImageStatus returns an image by reference or ID.
func (i *Images) ImageStatus(ctx context.Context, ref string) (runtime.Image, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	resp, err := i.service.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err != nil {
		return runtime.Image{}, plain(err)
	}
	if resp.Image == nil {
		return runtime.Image{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	return i.image(resp.Image), nil
}

func (i *Images) image(img *runtimeapi.Image) runtime.Image {
	out := runtime.Image{
		ID: img.Id, Tags: img.RepoTags, Digests: img.RepoDigests, Size: int64(img.Size), Pinned: img.Pinned || i.sandbox != "" && slices.Contains(img.RepoTags, i.sandbox), User: img.Username,
	}
	if img.Uid != nil {
		out.User = strconv.FormatInt(img.Uid.Value, 10)
	}
	return out
}

// ListImages returns all images.
func (i *Images) ListImages(ctx context.Context) ([]runtime.Image, error) {
	ctx, cancel := limited(ctx)
	defer cancel()
	resp, err := i.service.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, plain(err)
	}
	out := make([]runtime.Image, 0, len(resp.Images))
	for _, img := range resp.Images {
		out = append(out, i.image(img))
	}
	return out, nil
}

// PullImage fetches ref. It takes as long as ctx lets it.
func (i *Images) PullImage(ctx context.Context, ref string, auth []runtime.PullAuth) (runtime.Image, error) {
	if len(auth) == 0 {
		return i.pull(ctx, ref, nil)
	}
	var faults []error
	for _, a := range auth {
		img, err := i.pull(ctx, ref, &runtimeapi.AuthConfig{
			Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
		})
		if err == nil {
			return img, nil
		}
		faults = append(faults, err)
	}
	return runtime.Image{}, errors.Join(faults...)
}

func (i *Images) pull(ctx context.Context, ref string, auth *runtimeapi.AuthConfig) (runtime.Image, error) {
	resp, err := i.service.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}, Auth: auth})
	if err != nil {
		return runtime.Image{}, plain(err)
	}
	return i.ImageStatus(ctx, resp.ImageRef)
}

// RemoveImage removes an image with all its names.
func (i *Images) RemoveImage(ctx context.Context, ref string) error {
	ctx, cancel := limited(ctx)
	defer cancel()
	_, err := i.service.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	return gone(err)
}
