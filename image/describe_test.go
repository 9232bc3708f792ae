package image

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// claimed is an image of which somebody claims these documents.
type claimed struct{ manifest, config []byte }

func (c claimed) RawManifest() ([]byte, error)        { return c.manifest, nil }
func (c claimed) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c claimed) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (c claimed) LayerByDigest(v1.Hash) (partial.CompressedLayer, error) {
	return nil, errBusy
}

// FuzzDescribe: a manifest and a configuration of anybody's making either make a record whose parts fit together,
// or are refused.
func FuzzDescribe(f *testing.F) {
	const digest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+digest+`","size":2},"layers":[{"digest":"`+digest+`","size":7}]}`),
		[]byte(`{"os":"linux","rootfs":{"diff_ids":["`+digest+`"]},"config":{"User":"1","StopSignal":"SIGHUP"}}`))
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+digest+`","size":-2},"layers":[{"digest":"`+digest+`","size":-7}]}`),
		[]byte(`{"os":"linux","rootfs":{"diff_ids":["`+digest+`"]}}`))
	f.Add([]byte(`{"layers":[{"digest":"sha512:00"}]}`), []byte(`{}`))
	f.Fuzz(func(t *testing.T, manifest, config []byte) {
		img, err := partial.CompressedToImage(claimed{manifest, config})
		if err != nil {
			return
		}
		rec, err := (&Store{}).describe(img)
		if err != nil {
			return
		}
		if rec.Size < 0 {
			t.Errorf("size %d", rec.Size)
		}
		for _, l := range rec.Layers {
			if len(l.Blob) != len(digest) || len(l.DiffID) != len(digest) || l.Size < 0 {
				t.Errorf("layer %+v", l)
			}
		}
	})
}
