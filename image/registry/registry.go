// Package registry finds images in registries: it chooses the mirror to ask, the credential to show and the
// platform to take. What it returns is read lazily; package image stores it.
package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"clipper/image/reference"
)

// A Credential is one way to log in.
type Credential struct{ Username, Password, IdentityToken, RegistryToken string }

// Errors that a caller may want to tell apart; all keep the registry's own words in their text.
var (
	ErrNotFound     = errors.New("not found")
	ErrUnauthorized = errors.New("not authorized")
)

// A Fetcher asks registries. Its methods may be called concurrently.
type Fetcher struct{ config *Config }

// New returns a Fetcher; a nil config is the empty one.
func New(c *Config) *Fetcher {
	if c == nil {
		c = &Config{}
	}
	return &Fetcher{config: c}
}

// Found is an image at its registry.
type Found struct {
	Image  v1.Image
	Digest string // of what the reference names: an image or a list of images for several platforms
	// Descriptor is of the same, as verifiers of images are told.
	Descriptor v1.Descriptor
}

// Try finds the image that ref names for this machine's platform and gives it to use: from one endpoint after the
// other until use is content. Each is asked with every credential, and without only if there is none. The error
// tells of the registry itself, and of a mirror only if that is all.
func (f *Fetcher) Try(ctx context.Context, ref reference.Ref, credentials []Credential, use func(Found) error) error {
	endpoints, err := f.config.endpoints(ref.Registry)
	if err != nil {
		return err
	}
	last := errors.New("no host may be asked; look at the capabilities in its hosts.toml")
	tried := map[int]bool{}
	for range 2 { // a host that may only be asked by digest has to wait for one that knows the digest
		for i, e := range endpoints {
			if tried[i] || ref.Digest == "" && !e.resolve || ref.Digest != "" && !e.pull {
				continue
			}
			tried[i] = true
			found, err := f.ask(ctx, e, ref, credentials)
			if err == nil {
				ref.Digest = found.Digest // whoever is asked next: for the same
				if !e.pull {
					continue
				}
				if err = use(found); err == nil {
					return nil
				}
			} else {
				err = fmt.Errorf("failed to resolve reference %q: %w", ref, err)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("failed to resolve reference %q: %w", ref, context.Cause(ctx))
			}
			last = err
		}
	}
	return last
}

func (f *Fetcher) ask(ctx context.Context, e endpoint, ref reference.Ref, credentials []Credential) (Found, error) {
	target, err := e.reference(ref)
	if err != nil {
		return Found{}, err
	}
	t, err := f.config.transport(e, ref)
	if err != nil {
		return Found{}, err
	}
	logins := []authn.Authenticator{authn.Anonymous}
	if len(credentials) > 0 {
		logins = nil
	}
	for _, c := range credentials {
		logins = append(logins, authn.FromConfig(authConfig(c)))
	}
	var first error
	for _, login := range logins {
		found, err := get(ctx, target, t, login)
		if err == nil {
			return found, nil
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, ErrUnauthorized) {
			return Found{}, err
		}
	}
	return Found{}, first
}

func authConfig(c Credential) authn.AuthConfig {
	return authn.AuthConfig{Username: c.Username, Password: c.Password, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken}
}

// reference translates ref to the library's type, at this endpoint.
func (e endpoint) reference(ref reference.Ref) (name.Reference, error) {
	var opts []name.Option
	if e.mayPlain() {
		opts = append(opts, name.Insecure)
	}
	repo := e.host + "/" + ref.Repository
	if ref.Digest != "" {
		return name.NewDigest(repo+"@"+ref.Digest, opts...)
	}
	return name.NewTag(repo+":"+ref.Tag, opts...)
}

// retries bridge a hiccup. Longer trouble is the caller's, who tells the user and comes back.
var retries = remote.Backoff{Duration: 100 * time.Millisecond, Factor: 3, Jitter: 0.1, Steps: 3}

func get(ctx context.Context, target name.Reference, t http.RoundTripper, login authn.Authenticator) (Found, error) {
	desc, err := remote.Get(target, remote.WithContext(ctx), remote.WithTransport(t), remote.WithAuth(login),
		remote.WithUserAgent("clipper"), remote.WithRetryBackoff(retries))
	if err != nil {
		return Found{}, explain(target, err)
	}
	found := Found{Digest: desc.Digest.String(), Descriptor: desc.Descriptor}
	switch {
	case desc.MediaType == types.DockerManifestSchema1, desc.MediaType == types.DockerManifestSchema1Signed:
		return Found{}, fmt.Errorf("%s: media type %q is no longer supported; push the image again with a present-day tool", target, desc.MediaType)
	case desc.MediaType.IsIndex():
		var list v1.ImageIndex
		if list, err = desc.ImageIndex(); err == nil {
			found.Image, err = fromList(target, list, maxNesting)
		}
	default:
		found.Image, err = desc.Image()
	}
	if err == nil {
		err = refuseArtifact(target, found.Image)
	}
	if err != nil {
		return Found{}, explain(target, err)
	}
	return found, nil
}

// maxNesting is how deep lists of lists of images may go.
const maxNesting = 4

// fromList takes this machine's image out of a list.
func fromList(target name.Reference, list v1.ImageIndex, depth int) (v1.Image, error) {
	manifest, err := list.IndexManifest()
	if err != nil {
		return nil, err
	}
	d := choose(manifest, runtime.GOARCH)
	switch {
	case d == nil || depth == 0:
		return nil, &answerError{class: ErrNotFound, text: fmt.Sprintf("no match for platform in manifest: not found: %s has no image for %s", target, here())}
	case d.MediaType.IsIndex():
		inner, err := list.ImageIndex(d.Digest)
		if err != nil {
			return nil, err
		}
		return fromList(target, inner, depth-1)
	}
	return list.Image(d.Digest)
}

// refuseArtifact tells images from the other things that registries keep: charts, signatures, policies.
func refuseArtifact(target name.Reference, img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	switch kind := m.Config.MediaType; kind {
	case types.OCIConfigJSON, types.DockerConfigJSON, "":
		return nil
	default:
		return &answerError{text: fmt.Sprintf("%s is not a container image but an artifact of type %q", target, kind)}
	}
}

// explain puts the registry's answer in few words and a class.
func explain(target name.Reference, err error) error {
	if own := (*answerError)(nil); errors.As(err, &own) {
		return own
	}
	var answer *transport.Error
	if !errors.As(err, &answer) {
		return fmt.Errorf("failed to do request: %w", err)
	}
	var said []string
	for _, d := range answer.Errors {
		said = append(said, strings.TrimRight(string(d.Code)+": "+d.Message, ": "))
	}
	text := strings.Join(said, "; ")
	if text == "" {
		text = fmt.Sprintf("unexpected status %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	switch answer.StatusCode {
	case http.StatusNotFound:
		return &answerError{class: ErrNotFound, text: fmt.Sprintf("%s: not found (%s)", target, text)}
	case http.StatusUnauthorized, http.StatusForbidden:
		return &answerError{class: ErrUnauthorized, text: fmt.Sprintf("pull access denied, repository does not exist or may require authorization: server message: %s", text)}
	}
	return &answerError{text: fmt.Sprintf("%s: %s", target, text)}
}

type answerError struct {
	class error
	text  string
}

func (e *answerError) Error() string { return e.text }
func (e *answerError) Unwrap() error { return e.class }
