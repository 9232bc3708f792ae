package image

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"clipper/image/reference"
	"clipper/node/runtime"
)

// A record is what the index keeps of one image.
type record struct {
	ID         string    `json:"id"`       // config digest
	Manifest   string    `json:"manifest"` // digest of the manifest blob
	Tags       []string  `json:"tags,omitempty"`
	Digests    []string  `json:"digests,omitempty"`
	Layers     []layer   `json:"layers"` // lowest first
	Size       int64     `json:"size"`
	Pinned     bool      `json:"pinned,omitempty"`
	User       string    `json:"user,omitempty"`
	StopSignal string    `json:"stopSignal,omitempty"`
	Imported   bool      `json:"imported,omitempty"` // put here by hand, not pulled
	Added      time.Time `json:"added"`
}

// A layer is named twice: by the digest of its blob as transferred, and by that of its content, under which
// it is unpacked.
type layer struct {
	Blob   string `json:"blob"`
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"`
}

// index is a loaded index file. It is never changed after loading: a change makes a new one.
type index struct {
	Version int      `json:"version"`
	Images  []record `json:"images"`
}

const indexVersion = 1

// stamp tells whether the file has been replaced since it was read. The inode is part of it: an atomic
// replacement within the clock's granularity still has another one.
type stamp struct {
	inode uint64
	size  int64
	mtime time.Time
}

func (r record) image() runtime.Image {
	return runtime.Image{
		ID: r.ID, Tags: slices.Clone(r.Tags), Digests: slices.Clone(r.Digests),
		Size: r.Size, Pinned: r.Pinned || r.Imported, Imported: r.Imported, User: r.User, StopSignal: r.StopSignal,
	}
}

func readIndex(path string) (*index, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &index{Version: indexVersion}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	ix := &index{}
	if err := json.Unmarshal(b, ix); err != nil {
		return nil, fmt.Errorf("read image index %s: %w; delete the file and import the images again", path, err)
	}
	if ix.Version != indexVersion {
		return nil, fmt.Errorf("image index %s has version %d, this program reads %d; use the program that wrote it", path, ix.Version, indexVersion)
	}
	return ix, nil
}

// write replaces the index file. What it refers to must be on disk already.
func (ix *index) write(path string) error {
	b, err := json.MarshalIndent(ix, "", " ")
	if err != nil {
		return fmt.Errorf("encode image index: %w", err)
	}
	return writeFileSynced(path, b)
}

// writeFileSynced replaces a file so that after a crash there is the old content or the new one.
func writeFileSynced(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails after the rename, as it should
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// find returns the position of the image that ref means, or -1. ref may be a name, a name with digest, an
// ID, or the start of an ID that no other image shares.
func (ix *index) find(ref string) (int, error) {
	if i := ix.byID(ref); i >= 0 {
		return i, nil
	}
	parsed, err := reference.Parse(ref)
	if err == nil {
		for _, p := range []reference.Ref{parsed, parsed.Moved()} {
			if i := ix.byName(p); i >= 0 {
				return i, nil
			}
		}
	}
	return ix.byPrefix(ref)
}

func (ix *index) byID(id string) int {
	return slices.IndexFunc(ix.Images, func(r record) bool {
		return r.ID == id || strings.TrimPrefix(r.ID, "sha256:") == id
	})
}

func (ix *index) byName(ref reference.Ref) int {
	return slices.IndexFunc(ix.Images, func(r record) bool {
		if ref.Digest != "" {
			return slices.Contains(r.Digests, ref.Digested(ref.Digest))
		}
		return slices.Contains(r.Tags, ref.Tagged())
	})
}

func (ix *index) byPrefix(prefix string) (int, error) {
	prefix = strings.TrimPrefix(prefix, "sha256:")
	const shortest = 4 // shorter ones are typing errors rather than IDs
	if len(prefix) < shortest || strings.Trim(prefix, "0123456789abcdef") != "" {
		return -1, nil
	}
	found := -1
	for i, r := range ix.Images {
		if !strings.HasPrefix(r.ID, "sha256:"+prefix) {
			continue
		}
		if found >= 0 {
			return -1, fmt.Errorf("image ID %q is ambiguous: it begins %s and %s; give more of it", prefix, ix.Images[found].ID, r.ID)
		}
		found = i
	}
	return found, nil
}

// with returns an index in which rec is present and no other image holds its tags. An image of the same ID
// gains the new names.
func (ix *index) with(rec record) *index {
	next := &index{Version: indexVersion, Images: make([]record, 0, len(ix.Images)+1)}
	for _, r := range ix.Images {
		if r.ID == rec.ID {
			rec.Tags = union(r.Tags, rec.Tags)
			rec.Digests = union(r.Digests, rec.Digests)
			rec.Pinned = rec.Pinned || r.Pinned
			rec.Imported = rec.Imported || r.Imported
			continue
		}
		r.Tags = without(r.Tags, rec.Tags)
		next.Images = append(next.Images, r)
	}
	next.Images = append(next.Images, rec)
	return next
}

// withoutImage returns an index that lacks the image at position i.
func (ix *index) withoutImage(i int) *index {
	next := &index{Version: indexVersion, Images: slices.Clone(ix.Images)}
	next.Images = slices.Delete(next.Images, i, i+1)
	return next
}

func union(a, b []string) []string {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return slices.Contains(b, s) })
}
