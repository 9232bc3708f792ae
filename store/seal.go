package store

import (
	"context"
	"fmt"
	"strings"
	"unique"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// A Sealer encrypts values on their way to the log and decrypts them when they come back. Resources that it has
// nothing to say about go through unchanged. Package encrypt has the one that servers use.
type Sealer interface {
	Seal(ctx context.Context, r schema.GroupResource, path string, plain []byte) ([]byte, error)
	Open(r schema.GroupResource, path string, sealed []byte) ([]byte, error)
	// Mark says by which key a value is encrypted: "" for none.
	Mark(sealed []byte) string
}

// A sealMark is what Sealer.Mark said of an item's value: one word for each item, as keys are few.
type sealMark = unique.Handle[string]

func (s *Store) mark(sealed []byte) sealMark {
	if s.options.Sealer == nil {
		return unencrypted
	}
	mark := s.options.Sealer.Mark(sealed)
	if mark == "" {
		return unencrypted
	}
	return unique.Make(mark)
}

var unencrypted = unique.Make("")

// groupResource says which resource a storage prefix holds. Prefixes that are not known are those of custom resources:
// group/plural.
func (s *Store) groupResource(prefix string) schema.GroupResource {
	if r, ok := s.options.Resources[prefix]; ok {
		return r.GroupResource()
	}
	if group, name, ok := strings.Cut(prefix, "/"); ok {
		return schema.GroupResource{Group: group, Resource: name}
	}
	return schema.GroupResource{Resource: prefix}
}

func (s *Store) seal(ctx context.Context, prefix, path string, plain []byte) ([]byte, error) {
	if s.options.Sealer == nil {
		return plain, nil
	}
	value, err := s.options.Sealer.Seal(ctx, s.groupResource(prefix), path, plain)
	if err != nil {
		return nil, fmt.Errorf("encrypt %s: %w", path, err)
	}
	return value, nil
}

func (s *Store) unseal(prefix, path string, value []byte) ([]byte, sealMark, error) {
	if s.options.Sealer == nil {
		return value, unencrypted, nil
	}
	plain, err := s.options.Sealer.Open(s.groupResource(prefix), path, value)
	return plain, s.mark(value), err
}

// Stale reports whether it would be encrypted with another key if it were written now, so that writing it unchanged
// makes sense.
func (s *Store) Stale(it *Item) bool {
	if s.options.Sealer == nil {
		return false
	}
	now, err := s.markNow(it.Key)
	return err == nil && now != it.mark
}

// markNow is the mark that a value of k's resource would get. A provider that cannot encrypt at all is an error.
func (s *Store) markNow(k Key) (sealMark, error) {
	probe, err := s.seal(context.Background(), k.Resource, k.Path(), nil)
	return s.mark(probe), err
}

// StaleItems returns the published objects of which Stale is true.
func (s *Store) StaleItems() ([]*Item, error) {
	if s.options.Sealer == nil {
		return nil, nil
	}
	var out []*Item
	for _, resource := range s.Resources() {
		now, err := s.markNow(Key{Resource: resource, Name: "probe"})
		if err != nil {
			return nil, err
		}
		s.Snapshot(resource).Ascend("", Key{}, func(it *Item) bool {
			if it.mark != now {
				out = append(out, it)
			}
			return true
		})
	}
	return out, nil
}
