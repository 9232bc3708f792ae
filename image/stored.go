package image

import (
	"bytes"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image returns a stored image as the registry library's type, for export and as the base of a build. It is
// read from disk as it is used, so it is good only until the image is removed.
func (s *Store) Image(ref string) (v1.Image, error) {
	rec, err := s.lookup(ref)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&storedImage{s, rec})
}

func (s *Store) config(rec record) (*v1.ConfigFile, error) {
	b, err := os.ReadFile(s.blobPath(rec.ID))
	if err != nil {
		return nil, fmt.Errorf("image %s: read configuration: %w; import or pull the image again", rec.ID, err)
	}
	c, err := v1.ParseConfigFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("image %s: parse configuration: %w", rec.ID, err)
	}
	return c, nil
}

type storedImage struct {
	s   *Store
	rec record
}

func (i *storedImage) RawConfigFile() ([]byte, error) { return os.ReadFile(i.s.blobPath(i.rec.ID)) }
func (i *storedImage) RawManifest() ([]byte, error)   { return os.ReadFile(i.s.blobPath(i.rec.Manifest)) }

func (i *storedImage) MediaType() (types.MediaType, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return "", err
	}
	if m.MediaType == "" {
		return types.OCIManifestSchema1, nil
	}
	return m.MediaType, nil
}

func (i *storedImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if d.Digest == h {
			return &storedLayer{i.s, d}, nil
		}
	}
	return nil, fmt.Errorf("image %s has no layer %s", i.rec.ID, h)
}

type storedLayer struct {
	s    *Store
	desc v1.Descriptor
}

func (l *storedLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *storedLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *storedLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *storedLayer) Compressed() (io.ReadCloser, error) {
	return os.Open(l.s.blobPath(l.desc.Digest.String()))
}
