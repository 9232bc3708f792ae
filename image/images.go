package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"clipper/image/reference"
	"clipper/image/registry"
	"clipper/image/unpack"
	"clipper/node/runtime"
)

// A PullError says that an image could not be fetched. Its text is what users see in events.
type PullError struct {
	Image string // full reference
	Err   error  // the registry's answer, or what kept us from asking
}

func (e *PullError) Error() string {
	return fmt.Sprintf("failed to pull and unpack image %q: %v", e.Image, e.Err)
}

// Unwrap returns the cause.
func (e *PullError) Unwrap() error { return e.Err }

// ErrInvalidName marks references that cannot be parsed: the agent's InvalidImageName.
var ErrInvalidName = reference.ErrInvalid

// ImageStatus returns an image by name, name with digest, ID or unambiguous start of an ID.
func (s *Store) ImageStatus(_ context.Context, ref string) (runtime.Image, error) {
	rec, err := s.lookup(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	return rec.image(), nil
}

func (s *Store) lookup(ref string) (record, error) {
	ix, err := s.index()
	if err != nil {
		return record{}, err
	}
	i, err := ix.find(ref)
	if err != nil {
		return record{}, err
	}
	if i < 0 {
		return record{}, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
	}
	return ix.Images[i], nil
}

// ListImages returns all images, by first name.
func (s *Store) ListImages(context.Context) ([]runtime.Image, error) {
	ix, err := s.index()
	if err != nil {
		return nil, err
	}
	out := make([]runtime.Image, len(ix.Images))
	for i, r := range ix.Images {
		out[i] = r.image()
	}
	slices.SortFunc(out, func(a, b runtime.Image) int {
		return cmp.Or(slices.Compare(a.Tags, b.Tags), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// PullImage fetches ref from its registry or a mirror. What the store already has is not transferred again; of
// what several pulls need, one transfers and the others wait.
func (s *Store) PullImage(ctx context.Context, ref string, auth []runtime.PullAuth) (runtime.Image, error) {
	parsed, err := reference.Parse(ref)
	if err != nil {
		return runtime.Image{}, err
	}
	credentials := make([]registry.Credential, len(auth))
	for i, a := range auth {
		credentials[i] = registry.Credential(a)
	}
	var rec record
	var final error // that no other host can better
	err = s.fetcher.Try(ctx, parsed.Moved(), credentials, func(found registry.Found) error {
		if final = s.verifiers.verify(ctx, parsed.String(), found.Descriptor); final != nil {
			return nil
		}
		var tags []string
		if parsed.Digest == "" { // by digest the tag is only a remark: the registry's tag may be elsewhere by now
			tags = []string{parsed.Tagged()}
		}
		var err error
		rec, err = s.ingest(ctx, parsed.String(), found.Image, tags, pulledDigests(parsed, found), false)
		if isOurs(err) {
			final, err = err, nil
		}
		return err
	})
	err = errors.Join(err, final)
	if err == nil || errors.Is(err, unix.ENOSPC) {
		s.collect() // what an image was replaced by, and what of this one did come
	}
	switch {
	case err == nil:
		return rec.image(), nil
	case errors.Is(err, ErrRejected):
		return runtime.Image{}, err // its class stands in front, where node agents look for it
	}
	if unreachable(err) {
		err = &classified{error: err, class: runtime.ErrUnreachable}
	}
	return runtime.Image{}, &PullError{Image: parsed.String(), Err: err}
}

// unreachable says whether err means that no registry was there to ask: the name does not resolve, or nothing
// answers at the address.
func unreachable(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &op) && op.Op == "dial" || errors.As(err, &dns)
}

// classified is an error that has a class besides its own words.
type classified struct {
	error
	class error
}

func (c *classified) Unwrap() []error { return []error{c.error, c.class} }

// isOurs says whether the image or this machine is at fault, and not the host it was asked of.
func isOurs(err error) bool {
	var bad *unpack.PathError
	return errors.As(err, &bad) || errors.Is(err, unpack.ErrTooLarge) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// pulledDigests: the digest that the registry's tag has, which for an image of several platforms is that of
// the list, and the digest asked for.
func pulledDigests(ref reference.Ref, found registry.Found) []string {
	digests := []string{ref.Digested(found.Digest)}
	if ref.Digest != "" {
		digests = append(digests, ref.Digested(ref.Digest))
	}
	return digests
}

// RemoveImage removes a name of an image, and the image with its last name; by ID it removes the image with
// all its names. Removing what is not there is no error. Containers made from it keep their layers.
func (s *Store) RemoveImage(_ context.Context, ref string) error {
	err := s.change(func(ix *index) (*index, error) {
		i, err := ix.find(ref)
		if err != nil || i < 0 {
			return nil, err
		}
		rec := ix.Images[i]
		parsed, parseErr := reference.Parse(ref)
		byID := ix.byID(ref) == i || parseErr != nil || ix.byName(parsed) < 0 && ix.byName(parsed.Moved()) < 0
		if !byID {
			names := []string{parsed.Tagged(), parsed.Moved().Tagged()}
			if parsed.Digest != "" {
				names = nil // one content, whatever it is called
			}
			if left := without(rec.Tags, names); names != nil && len(left) > 0 {
				next := &index{Version: indexVersion, Images: slices.Clone(ix.Images)}
				rec.Tags = left
				rec.Digests = slices.DeleteFunc(slices.Clone(rec.Digests), func(d string) bool {
					return !slices.ContainsFunc(left, func(tag string) bool { return sameRepository(tag, d) })
				})
				next.Images[i] = rec
				return next, nil
			}
		}
		return ix.withoutImage(i), nil
	})
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	s.collect()
	return nil
}

func sameRepository(a, b string) bool {
	ra, errA := reference.Parse(a)
	rb, errB := reference.Parse(b)
	return errA == nil && errB == nil && ra.Name() == rb.Name()
}

// Tag gives the image ref another name.
func (s *Store) Tag(_ context.Context, ref, name string) error {
	parsed, err := reference.Parse(name)
	if err != nil {
		return err
	}
	return s.change(func(ix *index) (*index, error) {
		i, err := ix.find(ref)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			return nil, fmt.Errorf("image %q: %w", ref, runtime.ErrNotFound)
		}
		rec := ix.Images[i]
		rec.Tags = union(rec.Tags, []string{parsed.Tagged()})
		rec.Digests = union(rec.Digests, []string{parsed.Digested(rec.Manifest)})
		return ix.with(rec), nil
	})
}

// Add puts an image from anywhere into the store under the given names.
func (s *Store) Add(ctx context.Context, img v1.Image, names ...string) (runtime.Image, error) {
	digest, err := img.Digest()
	if err != nil {
		return runtime.Image{}, err
	}
	var tags, digests []string
	for _, n := range names {
		ref, err := reference.Parse(n)
		if err != nil {
			return runtime.Image{}, err
		}
		if ref.Tag != "" {
			tags = append(tags, ref.Tagged())
		}
		digests = append(digests, ref.Digested(digest.String()))
	}
	rec, err := s.ingest(ctx, label(names), img, tags, digests, true)
	if err != nil {
		return runtime.Image{}, err
	}
	return rec.image(), nil
}

// Config returns the configuration of an image: entry point, environment, user.
func (s *Store) Config(ref string) (*v1.ConfigFile, error) {
	rec, err := s.lookup(ref)
	if err != nil {
		return nil, err
	}
	return s.config(rec)
}
