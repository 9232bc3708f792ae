package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"clipper/image/reference"
)

// dockerImage is an element of a docker-archive's manifest.json.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (r *Reader) dockerImages() ([]Entry, error) {
	var list []dockerImage
	if err := r.decode("manifest.json", &list); err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(list))
	for _, d := range list {
		img, err := r.dockerImage(d)
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{Names: union(nil, d.RepoTags), Image: img})
	}
	return merge(entries)
}

// dockerImage makes the manifest that the format lacks. The image keeps its ID, the configuration's digest.
func (r *Reader) dockerImage(d dockerImage) (v1.Image, error) {
	config, err := r.document(d.Config)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(config)
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.DockerManifestSchema2,
		Config: v1.Descriptor{
			MediaType: types.DockerConfigJSON, Size: int64(len(config)),
			Digest: v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])},
		},
	}
	names := map[v1.Hash]string{}
	for _, l := range d.Layers {
		desc, err := r.dockerLayer(l)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, desc)
		names[desc.Digest] = l
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(&dockerCore{r: r, config: config, manifest: raw, parsed: m, names: names})
}

func (r *Reader) dockerLayer(name string) (v1.Descriptor, error) {
	f, err := r.open(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	head := make([]byte, 2)
	if _, err := f.ReadAt(head, 0); err != nil {
		return v1.Descriptor{}, fmt.Errorf("archive: read %s: %w", name, noEOF(err))
	}
	media := types.DockerUncompressedLayer
	if bytes.Equal(head, []byte{0x1f, 0x8b}) {
		media = types.DockerLayer
	}
	h, ok := r.sums[name]
	if !ok {
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return v1.Descriptor{}, fmt.Errorf("archive: read %s: %w", name, err)
		}
		h = v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
		r.sums[name] = h
	}
	return v1.Descriptor{MediaType: media, Size: f.Size(), Digest: h}, nil
}

// addDockerNames adds the names that an archive in both formats gives in manifest.json.
func (r *Reader) addDockerNames(entries []Entry) error {
	var list []dockerImage
	if err := r.decode("manifest.json", &list); err != nil {
		return err
	}
	tags := map[string][]string{} // by image ID
	for _, d := range list {
		config, err := r.document(d.Config)
		if err != nil {
			continue // an image of another platform that was left out of the archive
		}
		sum := sha256.Sum256(config)
		tags[hex.EncodeToString(sum[:])] = append(tags[hex.EncodeToString(sum[:])], d.RepoTags...)
	}
	for i := range entries {
		id, err := entries[i].Image.ConfigName()
		if err != nil {
			return err
		}
		for _, t := range tags[id.Hex] {
			ref, err := reference.Parse(t)
			if err != nil {
				return fmt.Errorf("archive: %w", err)
			}
			entries[i].Names = union(entries[i].Names, []string{ref.String()})
		}
	}
	return nil
}

type dockerCore struct {
	r        *Reader
	config   []byte
	manifest []byte
	parsed   v1.Manifest
	names    map[v1.Hash]string
}

func (d *dockerCore) RawConfigFile() ([]byte, error)      { return d.config, nil }
func (d *dockerCore) RawManifest() ([]byte, error)        { return d.manifest, nil }
func (d *dockerCore) MediaType() (types.MediaType, error) { return types.DockerManifestSchema2, nil }
func (d *dockerCore) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h == d.parsed.Config.Digest {
		return partial.ConfigLayer(d)
	}
	for _, desc := range d.parsed.Layers {
		if desc.Digest == h {
			return &entryLayer{r: d.r, name: d.names[h], desc: desc}, nil
		}
	}
	return nil, fmt.Errorf("archive: no layer %s", h)
}
