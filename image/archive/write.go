package archive

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Write writes images as one archive in both formats, so that every tool's import or load reads it. Layers
// that images share are in it once. The output depends on the images alone, not on time or place.
func Write(w io.Writer, entries []Entry) error {
	a := &writer{tw: tar.NewWriter(w), have: map[v1.Hash]bool{}}
	for _, e := range entries {
		if err := a.image(e); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	if err := a.finish(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// WriteFile is Write to a file, which appears only when it is complete.
func WriteFile(path string, entries []Entry) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".archive-")
	if err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Chmod(0o644); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := Write(f, entries); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

type writer struct {
	tw     *tar.Writer
	have   map[v1.Hash]bool
	index  []v1.Descriptor
	docker []dockerImage
}

func (a *writer) file(name string, size int64, r io.Reader) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}
	if err := a.tw.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(a.tw, r)
	return err
}

func (a *writer) bytes(h v1.Hash, b []byte) error {
	if a.have[h] {
		return nil
	}
	a.have[h] = true
	return a.file(blobName(h), int64(len(b)), bytes.NewReader(b))
}

func (a *writer) image(e Entry) error {
	layers, err := e.Image.Layers()
	if err != nil {
		return err
	}
	d := dockerImage{RepoTags: tagsOnly(e.Names)}
	for _, l := range layers {
		h, err := a.layer(l)
		if err != nil {
			return err
		}
		d.Layers = append(d.Layers, blobName(h))
	}
	config, err := e.Image.RawConfigFile()
	if err != nil {
		return err
	}
	id, err := e.Image.ConfigName()
	if err != nil {
		return err
	}
	if err := a.bytes(id, config); err != nil {
		return err
	}
	d.Config = blobName(id)
	a.docker = append(a.docker, d)
	manifest, err := e.Image.RawManifest()
	if err != nil {
		return err
	}
	digest, err := e.Image.Digest()
	if err != nil {
		return err
	}
	if err := a.bytes(digest, manifest); err != nil {
		return err
	}
	return a.describe(e, digest, int64(len(manifest)))
}

// describe adds the image to index.json, once for each name.
func (a *writer) describe(e Entry, digest v1.Hash, size int64) error {
	media, err := e.Image.MediaType()
	if err != nil {
		return err
	}
	desc := v1.Descriptor{MediaType: media, Digest: digest, Size: size}
	if len(e.Names) == 0 {
		a.index = append(a.index, desc)
	}
	for _, n := range e.Names {
		desc.Annotations = map[string]string{nameContainerd: n, nameOCI: n}
		a.index = append(a.index, desc)
	}
	return nil
}

func (a *writer) layer(l v1.Layer) (v1.Hash, error) {
	h, err := l.Digest()
	if err != nil || a.have[h] {
		return h, err
	}
	a.have[h] = true
	size, err := l.Size()
	if err != nil {
		return h, err
	}
	r, err := l.Compressed()
	if err != nil {
		return h, err
	}
	defer r.Close()
	return h, a.file(blobName(h), size, r)
}

func (a *writer) finish() error {
	index, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: a.index})
	if err != nil {
		return err
	}
	docker, err := json.Marshal(a.docker)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		b    []byte
	}{{"index.json", index}, {"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)}, {"manifest.json", docker}} {
		if err := a.file(f.name, int64(len(f.b)), bytes.NewReader(f.b)); err != nil {
			return err
		}
	}
	return a.tw.Close()
}

// tagsOnly drops names by digest, which manifest.json cannot hold.
func tagsOnly(names []string) []string {
	tags := []string{}
	for _, n := range names {
		if !strings.Contains(n, "@") {
			tags = append(tags, n)
		}
	}
	return tags
}
