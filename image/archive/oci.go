package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"clipper/image/reference"
)

// Annotations that carry an image's name: containerd's is always a full reference, OCI's may be a bare tag.
const (
	nameContainerd = "io.containerd.image.name"
	nameOCI        = "org.opencontainers.image.ref.name"
)

const maxNesting = 4 // of lists in lists

func (r *Reader) ociImages(arch string) ([]Entry, error) {
	var ix v1.IndexManifest
	if err := r.decode("index.json", &ix); err != nil {
		return nil, err
	}
	var entries []Entry
	for _, d := range ix.Manifests {
		found, err := r.ociImage(d, arch, maxNesting)
		if errors.Is(err, errOtherPlatform) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Names: ociNames(d.Annotations), Image: found})
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("archive has no image for linux/%s", arch)
	}
	return merge(entries)
}

var errOtherPlatform = errors.New("image is for another platform")

func (r *Reader) ociImage(d v1.Descriptor, arch string, depth int) (v1.Image, error) {
	if depth == 0 {
		return nil, errors.New("archive: image lists are nested too deeply")
	}
	if p := d.Platform; p != nil && (p.OS != "linux" || p.Architecture != arch) {
		return nil, errOtherPlatform
	}
	b, err := r.blob(d.Digest)
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		if !d.MediaType.IsImage() {
			return nil, errOtherPlatform // an attestation, a signature
		}
		return partial.CompressedToImage(&ociImage{r: r, desc: d, manifest: b})
	}
	var list v1.IndexManifest
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("archive: parse image list %s: %w", d.Digest, err)
	}
	for _, child := range list.Manifests {
		img, err := r.ociImage(child, arch, depth-1)
		if !errors.Is(err, errOtherPlatform) {
			return img, err
		}
	}
	return nil, errOtherPlatform
}

func ociNames(annotations map[string]string) []string {
	var names []string
	if n := annotations[nameContainerd]; n != "" {
		names = append(names, n)
	}
	// A bare tag ("latest") names no repository. Some tools write full references here.
	if n := annotations[nameOCI]; strings.ContainsAny(n, "/:") {
		names = union(names, []string{n})
	}
	return names
}

// merge joins entries that are the same image under several names, and brings names to their full form.
func merge(entries []Entry) ([]Entry, error) {
	var out []Entry
	at := map[v1.Hash]int{}
	for _, e := range entries {
		for i, n := range e.Names {
			ref, err := reference.Parse(n)
			if err != nil {
				return nil, fmt.Errorf("archive: %w", err)
			}
			e.Names[i] = ref.String()
		}
		digest, err := e.Image.Digest()
		if err != nil {
			return nil, err
		}
		if i, ok := at[digest]; ok {
			out[i].Names = union(out[i].Names, e.Names)
			continue
		}
		at[digest] = len(out)
		out = append(out, e)
	}
	return out, nil
}

type ociImage struct {
	r        *Reader
	desc     v1.Descriptor
	manifest []byte
}

func (i *ociImage) MediaType() (types.MediaType, error) { return i.desc.MediaType, nil }
func (i *ociImage) RawManifest() ([]byte, error)        { return i.manifest, nil }

func (i *ociImage) RawConfigFile() ([]byte, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	return i.r.blob(m.Config.Digest)
}

func (i *ociImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	m, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if d.Digest == h {
			return &entryLayer{r: i.r, name: blobName(h), desc: d}, nil
		}
	}
	return nil, fmt.Errorf("archive: image %s has no layer %s", i.desc.Digest, h)
}

// entryLayer is a layer that lies in the archive.
type entryLayer struct {
	r    *Reader
	name string
	desc v1.Descriptor
}

func (l *entryLayer) Digest() (v1.Hash, error)            { return l.desc.Digest, nil }
func (l *entryLayer) Size() (int64, error)                { return l.desc.Size, nil }
func (l *entryLayer) MediaType() (types.MediaType, error) { return l.desc.MediaType, nil }
func (l *entryLayer) Compressed() (io.ReadCloser, error) {
	f, err := l.r.open(l.name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(f), nil
}
