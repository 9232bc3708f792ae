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
}

// Resolve finds the image that ref names for this machine's platform. Every endpoint is tried with every
// credential and then without; the error tells of the registry itself, and of a mirror only if that is all.
func (f *Fetcher) Resolve(ctx context.Context, ref reference.Ref, credentials []Credential) (Found, error) {
	endpoints, err := f.config.endpoints(ref.Registry)
	if err != nil {
		return Found{}, err
	}
	var last error
	for _, e := range endpoints {
		found, err := f.ask(ctx, e, ref, credentials)
		if err == nil {
			return found, nil
		}
		if ctx.Err() != nil {
			return Found{}, fmt.Errorf("failed to resolve reference %q: %w", ref, context.Cause(ctx))
		}
		last = err
	}
	return Found{}, fmt.Errorf("failed to resolve reference %q: %w", ref, last)
}

func (f *Fetcher) ask(ctx context.Context, e endpoint, ref reference.Ref, credentials []Credential) (Found, error) {
	target, err := e.reference(ref)
	if err != nil {
		return Found{}, err
	}
	t, err := f.config.transport(e)
	if err != nil {
		return Found{}, err
	}
	if e.mirror {
		t = &namespaced{next: t, registry: ref.Registry, host: e.host}
	}
	logins := make([]authn.Authenticator, 0, len(credentials)+1)
	for _, c := range credentials {
		logins = append(logins, authn.FromConfig(authConfig(c)))
	}
	logins = append(logins, authn.Anonymous)
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
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	desc, err := remote.Get(target, remote.WithContext(ctx), remote.WithTransport(t), remote.WithAuth(login),
		remote.WithPlatform(platform), remote.WithUserAgent("clipper"), remote.WithRetryBackoff(retries))
	if err != nil {
		return Found{}, explain(target, err)
	}
	switch desc.MediaType {
	case types.DockerManifestSchema1, types.DockerManifestSchema1Signed:
		return Found{}, fmt.Errorf("%s: media type %q is no longer supported; push the image again with a present-day tool", target, desc.MediaType)
	}
	img, err := desc.Image()
	if err != nil {
		if strings.Contains(err.Error(), "no child with platform") {
			return Found{}, fmt.Errorf("no match for platform in manifest: %w: %s has no image for linux/%s", ErrNotFound, target, runtime.GOARCH)
		}
		return Found{}, explain(target, err)
	}
	return Found{Image: img, Digest: desc.Digest.String()}, nil
}

// explain puts the registry's answer in few words and a class.
func explain(target name.Reference, err error) error {
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

// namespaced tells a mirror which registry it stands for, as containerd does.
type namespaced struct {
	next           http.RoundTripper
	registry, host string
}

func (n *namespaced) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == n.host && strings.HasPrefix(r.URL.Path, "/v2/") && r.URL.Path != "/v2/" {
		r = r.Clone(r.Context())
		q := r.URL.Query()
		q.Set("ns", n.registry)
		r.URL.RawQuery = q.Encode()
	}
	return n.next.RoundTrip(r)
}
