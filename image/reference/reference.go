// Package reference turns what users write as an image name ("nginx", "quay.io/org/app:1", "sha256:…") into
// the full form that images are stored under, by the rules of docker.io.
package reference

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
)

// ErrInvalid is wrapped by every error of Parse. The node agent reports it as InvalidImageName.
var ErrInvalid = errors.New("invalid image name")

// A Ref is a parsed, complete reference: exactly one of Tag and Digest decides which image it means, the
// digest where both are there.
type Ref struct {
	Registry   string // docker.io, registry.k8s.io, localhost:5000
	Repository string // library/nginx
	Tag        string
	Digest     string // sha256:…
}

// Parse reads a reference. Without tag and digest it means the tag "latest".
func Parse(s string) (Ref, error) {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil {
		return Ref{}, &parseError{text: fmt.Sprintf("couldn't parse image name %q: %v", s, err)}
	}
	named = reference.TagNameOnly(named)
	r := Ref{Registry: reference.Domain(named), Repository: reference.Path(named)}
	if t, ok := named.(reference.Tagged); ok {
		r.Tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.Digest = d.Digest().String()
	}
	return r, nil
}

// parseError keeps upstream's words and still answers errors.Is(err, ErrInvalid).
type parseError struct{ text string }

func (e *parseError) Error() string        { return e.text }
func (e *parseError) Is(target error) bool { return target == ErrInvalid }

// Name returns registry and repository.
func (r Ref) Name() string { return r.Registry + "/" + r.Repository }

// Tagged returns the name with its tag, or "" if the reference is by digest alone.
func (r Ref) Tagged() string {
	if r.Tag == "" {
		return ""
	}
	return r.Name() + ":" + r.Tag
}

// Digested returns the name with digest d.
func (r Ref) Digested(d string) string { return r.Name() + "@" + d }

// String returns the full reference.
func (r Ref) String() string {
	s := r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// Familiar is the short form that users know: docker.io/library/nginx:1 is nginx:1. One that would mean another
// registry (docker.io/quay.io/app) stays as it is.
func (r Ref) Familiar() string {
	full := r.String()
	rest, ok := strings.CutPrefix(full, "docker.io/")
	if !ok {
		return full
	}
	short := strings.TrimPrefix(rest, "library/")
	if again, err := Parse(short); err != nil || again != r {
		return full
	}
	return short
}

// Moved returns the reference a registry that moved answers under today, or r itself. The old registry of
// the Kubernetes project was frozen in 2023; everything in it is at the new place.
func (r Ref) Moved() Ref {
	if r.Registry == "k8s.gcr.io" {
		r.Registry = "registry.k8s.io"
	}
	return r
}
