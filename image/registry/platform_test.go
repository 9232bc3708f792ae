package registry

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// list makes a list of images from platforms, "os/arch[/variant]"; "-" names none, "?x" is of another kind.
func list(platforms string) *v1.IndexManifest {
	m := &v1.IndexManifest{}
	for _, p := range strings.Fields(platforms) {
		d := v1.Descriptor{MediaType: types.OCIManifestSchema1}
		if rest, ok := strings.CutPrefix(p, "?"); ok {
			d.MediaType, p = "application/x-other", rest
		}
		if p != "-" {
			parts := append(strings.Split(p, "/"), "")
			d.Platform = &v1.Platform{OS: parts[0], Architecture: parts[1], Variant: parts[2]}
		}
		m.Manifests = append(m.Manifests, d)
	}
	return m
}

func TestChoose(t *testing.T) {
	for _, tc := range []struct {
		arch, platforms string
		want            int
	}{
		{"amd64", "linux/arm64 linux/amd64", 1},
		{"amd64", "linux/amd64/v3 linux/amd64", 1}, // a newer processor's image does not run on every one
		{"amd64", "linux/amd64/v1", 0},
		{"amd64", "linux/amd64/v3", -1},
		{"amd64", "linux/386 linux/arm64", 0},
		{"amd64", "windows/amd64 linux/x86_64", 1},
		{"amd64", "unknown/unknown linux/amd64", 1}, // attestations
		{"amd64", "- linux/amd64", 1},
		{"amd64", "- linux/arm64", 0},
		{"amd64", "?linux/amd64 linux/amd64", 1},
		{"amd64", "linux/amd64 linux/amd64", 0},
		{"amd64", "", -1},
		{"arm64", "linux/arm/v6 linux/arm/v7 linux/arm64/v8", 2},
		{"arm64", "linux/arm/v6 linux/arm/v7", 1},
		{"arm64", "linux/aarch64", 0},
		{"arm", "linux/arm64 linux/arm/v6 linux/arm", 2},
		{"arm", "linux/arm/v8", -1},
		{"s390x", "linux/s390x", 0},
	} {
		l := list(tc.platforms)
		got := -1
		if d := choose(l, tc.arch); d != nil {
			for i := range l.Manifests {
				if d == &l.Manifests[i] {
					got = i
				}
			}
		}
		if got != tc.want {
			t.Errorf("%s of %q: %d, want %d", tc.arch, tc.platforms, got, tc.want)
		}
	}
}

func FuzzHosts(f *testing.F) {
	f.Add([]byte("server = \"https://r.io/x\"\nca = [\"a\"]\nclient = [[\"a\", \"b\"]]\n[host.\"http://m\"]\ncapabilities = [\"pull\"]\noverride_path = true\ndial_timeout = \"3s\"\n[host.\"http://m\".header]\nA = [\"b\"]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		eps, err := (&Config{}).parseHosts("r.io", "/certs", data)
		if err != nil {
			return
		}
		if len(eps) == 0 {
			t.Error("not even the registry itself")
		}
		for _, e := range eps {
			if e.host == "" || !strings.HasPrefix(e.path, "/") && e.path != "" {
				t.Errorf("endpoint %+v", e)
			}
		}
	})
}

func FuzzList(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m v1.IndexManifest
		if json.Unmarshal(data, &m) == nil {
			choose(&m, "amd64")
		}
	})
}
