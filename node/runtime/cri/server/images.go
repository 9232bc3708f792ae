package server

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"clipper/node/runtime"
)

// imageService serves image.v1.
type imageService struct {
	runtimeapi.UnimplementedImageServiceServer
	images Images
	disk   *diskUsage
}

func describe(img *runtime.Image) *runtimeapi.Image {
	out := &runtimeapi.Image{
		Id: img.ID, RepoTags: img.Tags, RepoDigests: img.Digests, Size: uint64(img.Size), Pinned: img.Pinned,
		Spec: &runtimeapi.ImageSpec{Image: img.ID},
	}
	user, _, _ := strings.Cut(img.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// ListImages lists the images that a filter lets through.
func (s *imageService) ListImages(ctx context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	items, err := s.list(ctx, req.Filter)
	return &runtimeapi.ListImagesResponse{Images: items}, err
}

// StreamImages is ListImages in parts.
func (s *imageService) StreamImages(req *runtimeapi.StreamImagesRequest, to grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	items, err := s.list(to.Context(), req.Filter)
	return inParts(items, err, func(part []*runtimeapi.Image) error {
		return to.Send(&runtimeapi.StreamImagesResponse{Images: part})
	})
}

func (s *imageService) list(ctx context.Context, f *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := f.GetImage().GetImage(); ref != "" {
		img, err := s.images.ImageStatus(ctx, ref)
		if errors.Is(err, runtime.ErrNotFound) {
			return nil, nil
		}
		return []*runtimeapi.Image{describe(&img)}, err
	}
	all, err := s.images.ListImages(ctx)
	var out []*runtimeapi.Image
	for i := range all {
		out = append(out, describe(&all[i]))
	}
	return out, err
}

// ImageStatus describes an image. One that is not there is no error.
func (s *imageService) ImageStatus(ctx context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	img, err := s.images.ImageStatus(ctx, req.GetImage().GetImage())
	if errors.Is(err, runtime.ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.ImageStatusResponse{Image: describe(&img)}
	if req.Verbose {
		config, err := s.images.Config(img.ID)
		if err != nil {
			return nil, err
		}
		out.Info = map[string]string{"info": asJSON(map[string]any{"imageSpec": config})}
	}
	return out, nil
}

// PullImage fetches an image and returns its ID.
func (s *imageService) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	var auth []runtime.PullAuth
	if req.Auth != nil {
		a, err := credentials(req.Auth)
		if err != nil {
			return nil, err
		}
		auth = append(auth, a)
	}
	img, err := s.images.PullImage(ctx, req.GetImage().GetImage(), auth)
	return &runtimeapi.PullImageResponse{ImageRef: img.ID}, err
}

// credentials reads a login in either of its two forms.
func credentials(a *runtimeapi.AuthConfig) (runtime.PullAuth, error) {
	out := runtime.PullAuth{Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken}
	if a.Auth == "" || a.Username != "" {
		return out, nil
	}
	plain, err := base64.StdEncoding.DecodeString(a.Auth)
	user, password, ok := strings.Cut(string(plain), ":")
	if err != nil || !ok {
		return out, status.Error(codes.InvalidArgument, "invalid auth: want base64 of user:password")
	}
	out.Username, out.Password = user, strings.Trim(password, "\x00")
	return out, nil
}

// RemoveImage removes an image with all its names.
func (s *imageService) RemoveImage(ctx context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	img, err := s.images.ImageStatus(ctx, req.GetImage().GetImage())
	if errors.Is(err, runtime.ErrNotFound) {
		return &runtimeapi.RemoveImageResponse{}, nil
	}
	if err == nil {
		err = s.images.RemoveImage(ctx, img.ID)
	}
	return &runtimeapi.RemoveImageResponse{}, err
}

// ImageFsInfo tells what images take, and where.
func (s *imageService) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	now := time.Now()
	used, err := s.disk.usage(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("usage of the image store: %w", err)
	}
	fs := []*runtimeapi.FilesystemUsage{{
		Timestamp: nano(now), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: s.images.Dir()},
		UsedBytes: value(used.Bytes), InodesUsed: value(used.Inodes),
	}}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: fs, ContainerFilesystems: fs}, nil
}
