package registry

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// platforms returns what a machine runs, the best first: containerd's order. A processor's own variant comes
// before older ones; amd64 runs 386, arm64 the 32-bit variants.
func platforms(arch string) []v1.Platform {
	var out []v1.Platform
	add := func(arch string, variants ...string) {
		for _, v := range variants {
			out = append(out, v1.Platform{OS: "linux", Architecture: arch, Variant: v})
		}
	}
	switch arch {
	case "amd64":
		add("amd64", "")
		add("386", "")
	case "arm64":
		add("arm64", "")
		add("arm", "v8", "v7", "v6", "v5")
	case "arm":
		add("arm", "v7", "v6", "v5")
	default:
		add(arch, "")
	}
	return out
}

// normalize gives the usual names to what lists of images call differently.
func normalize(p v1.Platform) v1.Platform {
	p.OS, p.Architecture, p.Variant = strings.ToLower(p.OS), strings.ToLower(p.Architecture), strings.ToLower(p.Variant)
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386":
		p.Architecture = "386"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch {
	case p.Architecture == "amd64" && p.Variant == "v1", p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"):
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
}

// choose returns the entry of a list of images that suits the machine best, nil if none does. One
// that names no platform is taken where nothing else suits: its configuration will tell.
func choose(list *v1.IndexManifest, arch string) *v1.Descriptor {
	wanted := platforms(arch)
	best, rank := -1, len(wanted)+1
	for i := range list.Manifests {
		d := &list.Manifests[i]
		if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
			continue
		}
		at := len(wanted) // no platform
		if d.Platform != nil {
			p := normalize(*d.Platform)
			at = slices.IndexFunc(wanted, func(w v1.Platform) bool {
				return w.OS == p.OS && w.Architecture == p.Architecture && w.Variant == p.Variant
			})
		}
		if at >= 0 && at < rank {
			best, rank = i, at
		}
	}
	if best < 0 {
		return nil
	}
	return &list.Manifests[best]
}

// here is this machine's platform, for messages.
func here() string { return fmt.Sprintf("linux/%s", runtime.GOARCH) }
