package image

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/node/runtime"
)

// Details are all that is known of an image.
type Details struct {
	runtime.Image
	Manifest string         // digest
	Added    time.Time      //
	Layers   []string       // diff IDs, lowest first
	Config   *v1.ConfigFile //
}

// Inspect returns what is known of an image.
func (s *Store) Inspect(ref string) (Details, error) {
	rec, err := s.lookup(ref)
	if err != nil {
		return Details{}, err
	}
	config, err := s.config(rec)
	if err != nil {
		return Details{}, err
	}
	d := Details{Image: rec.image(), Manifest: rec.Manifest, Added: rec.Added, Config: config}
	for _, l := range rec.Layers {
		d.Layers = append(d.Layers, l.DiffID)
	}
	return d, nil
}

// Pin keeps an image from being removed when the disk runs full, or no longer does.
func (s *Store) Pin(ref string, pinned bool) error {
	return s.change(func(ix *index) (*index, error) {
		i, err := ix.find(ref)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			return nil, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
		}
		next := &index{Version: indexVersion, Images: slices.Clone(ix.Images)}
		next.Images[i].Pinned, next.Images[i].Imported = pinned, next.Images[i].Imported && pinned
		return next, nil
	})
}

// Prune removes images that no container is made from, but for pinned and imported ones, and returns them. With
// all it removes imported ones too.
func (s *Store) Prune(ctx context.Context, all bool) ([]runtime.Image, error) {
	snapshots, err := s.allSnapshots()
	if err != nil {
		return nil, err
	}
	used := map[string]bool{}
	for _, sn := range snapshots {
		used[sn.ImageID] = true
	}
	ix, err := s.index()
	if err != nil {
		return nil, err
	}
	var gone []runtime.Image
	var errs []error
	for _, rec := range ix.Images {
		if used[rec.ID] || rec.Pinned || rec.Imported && !all {
			continue
		}
		if err := s.RemoveImage(ctx, rec.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		gone = append(gone, rec.image())
	}
	return gone, errors.Join(errs...)
}
