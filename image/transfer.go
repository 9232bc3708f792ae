package image

import (
	"context"
	"fmt"
	"io"
	"os"
	goruntime "runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"clipper/image/archive"
	"clipper/image/build"
	"clipper/image/reference"
	"clipper/node/runtime"
)

// Import puts the images of an archive into the store and returns them in the archive's order. name is
// given to the image of an archive that names none, if not empty. progress, if not nil, is told of every
// image before it is read.
func (s *Store) Import(ctx context.Context, f *os.File, name string, progress func(i, n int, names []string)) ([]runtime.Image, error) {
	release, err := s.adding()
	if err != nil {
		return nil, err
	}
	defer s.collectAfter(release)
	r, err := archive.Open(f, s.path("tmp"))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	entries, err := r.Images(goruntime.GOARCH)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if len(entries) != 1 {
			return nil, fmt.Errorf("the archive holds %d images; a name can be given only if there is one", len(entries))
		}
		entries[0].Names = append(entries[0].Names, name)
	}
	var out []runtime.Image
	for i, e := range entries {
		if progress != nil {
			progress(i, len(entries), e.Names)
		}
		img, err := s.Add(ctx, e.Image, e.Names...)
		if err != nil {
			return out, fmt.Errorf("import image %q: %w", label(e.Names), err)
		}
		out = append(out, img)
	}
	return out, nil
}

func label(names []string) string {
	if len(names) == 0 {
		return "<none>"
	}
	return names[0]
}

// collectAfter ends an addition and does the collection that it kept from running.
func (s *Store) collectAfter(release func()) {
	release()
	s.collect()
}

// collect is a collection whose failure is nobody's failure.
func (s *Store) collect() {
	if err := s.CollectGarbage(); err != nil {
		s.log.Warn("Removing unused image content failed; it is tried again later", "err", err)
	}
}

// Export writes images as one archive in docker and OCI format. An image given by name keeps that name, one
// given by ID all its names.
func (s *Store) Export(_ context.Context, w io.Writer, refs ...string) error {
	release, err := s.adding() // keeps blobs from being collected meanwhile
	if err != nil {
		return err
	}
	defer s.collectAfter(release)
	var entries []archive.Entry
	for _, ref := range refs {
		rec, err := s.lookup(ref)
		if err != nil {
			return err
		}
		img, err := s.Image(rec.ID)
		if err != nil {
			return err
		}
		names := rec.Tags
		if parsed, err := reference.Parse(ref); err == nil && parsed.Digest == "" {
			for _, t := range []string{parsed.Tagged(), parsed.Moved().Tagged()} {
				if len(without([]string{t}, rec.Tags)) == 0 {
					names = []string{t}
				}
			}
		}
		entries = append(entries, archive.Entry{Names: names, Image: img})
	}
	return archive.Write(w, entries)
}

// Build makes an image from a directory and stores it as name. from is a stored image to build on, or "".
func (s *Store) Build(ctx context.Context, dir, from, name string, owner build.Owner, spec build.Spec) (runtime.Image, error) {
	if _, err := reference.Parse(name); err != nil {
		return runtime.Image{}, err
	}
	release, err := s.adding()
	if err != nil {
		return runtime.Image{}, err
	}
	defer s.collectAfter(release)
	var base v1.Image
	if from != "" {
		if base, err = s.Image(from); err != nil {
			return runtime.Image{}, err
		}
	}
	f, err := os.CreateTemp(s.path("tmp"), "build-")
	if err != nil {
		return runtime.Image{}, err
	}
	f.Close()
	defer os.Remove(f.Name())
	layer, err := build.Layer(dir, f.Name(), owner)
	if err != nil {
		return runtime.Image{}, err
	}
	img, err := build.Image(base, spec, layer)
	if err != nil {
		return runtime.Image{}, err
	}
	return s.Add(ctx, img, name)
}
