// Package oidc accepts the tokens of OpenID Connect providers, as an AuthenticationConfiguration file or the --oidc-*
// flags describe them. The work is done by k8s.io/apiserver's authenticator; this package reads the configuration, and
// reads it again when it changes. Nothing is contacted, nor any expression compiled, unless a provider is configured.
package oidc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"reflect"
	"sync/atomic"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/egressselector"
	reloads "k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	certutil "k8s.io/client-go/util/cert"

	"clipper/apiserver/configfile"
	"clipper/apiserver/extremes"
)

const (
	// cacheTime is how long a token that was good once is good without another look. Upstream's figure.
	cacheTime = 10 * time.Second
	// requestTimeout bounds a question to a provider. Upstream's figure.
	requestTimeout = 30 * time.Second
	// healthTimeout bounds how long the providers of a new file may take to be found.
	healthTimeout = time.Minute
	healthRetry   = 200 * time.Millisecond // looks at what the background has fetched; asks nobody
	// overlap is how long requests may go on with the providers of the file before.
	overlap = time.Minute
)

// Options say where providers are described.
type Options struct {
	File  string // of an AuthenticationConfiguration; excludes Flags
	Flags Flags
	// Issuers of service-account tokens: no provider may have one of these names.
	Issuers   []string
	Audiences []string // of the API server
	Server    string   // the API server's name in metrics
	// Egress finds the proxies through which providers may be reached. Nil: there are none.
	Egress egressselector.Lookup
}

// An Authenticator knows the tokens of the providers that are configured now.
type Authenticator struct {
	options   Options
	ctx       context.Context // ends what follows the providers' keys
	anonymous *apiserver.AnonymousAuthConfig
	text      []byte // of the file as it was last tried
	current   atomic.Pointer[providers]
}

// providers are those of one content of the file.
type providers struct {
	tokens authenticator.Token
	checks []func() error
	stop   context.CancelFunc
}

// New reads the configuration. The keys of providers are followed until ctx ends.
func New(ctx context.Context, o Options) (*Authenticator, error) {
	a := &Authenticator{options: o, ctx: ctx}
	config := &apiserver.AuthenticationConfiguration{}
	algorithms := oidc.AllValidSigningAlgorithms()
	var err error
	if o.File != "" {
		if o.Flags.given() {
			return nil, errors.New("authentication-config file and oidc-* flags are mutually exclusive")
		}
		if a.text, err = os.ReadFile(o.File); err != nil {
			return nil, fmt.Errorf("read authentication configuration: %w", err)
		}
		config, err = decode(a.text)
	} else {
		algorithms = o.Flags.algorithms()
		config.JWT, err = o.Flags.providers()
	}
	if err != nil {
		return nil, fmt.Errorf("authentication configuration %s: %w", o.File, err)
	}
	a.anonymous = config.Anonymous
	p, err := a.build(config, algorithms)
	if err != nil {
		return nil, fmt.Errorf("authentication configuration %s: %w", o.File, err)
	}
	a.current.Store(p)
	if o.File != "" {
		reloads.RegisterMetrics()
		reloads.RecordAuthenticationConfigLastConfigInfo(o.Server, string(a.text))
	}
	return a, nil
}

// Anonymous returns what the file says of requests without credentials, nil for nothing.
func (a *Authenticator) Anonymous() *apiserver.AnonymousAuthConfig { return a.anonymous }

// build validates a configuration and makes its providers; their keys are fetched in the background.
func (a *Authenticator) build(config *apiserver.AuthenticationConfiguration, algorithms []string) (*providers, error) {
	if len(config.JWT) == 0 && config.Anonymous == nil {
		return &providers{stop: func() {}}, nil
	}
	if faults := validation.ValidateAuthenticationConfiguration(authenticationcel.NewDefaultCompiler(), config, a.options.Issuers); len(faults) > 0 {
		return nil, faults.ToAggregate()
	}
	ctx, stop := context.WithCancel(a.ctx)
	p := &providers{stop: stop}
	var all []authenticator.Token
	for _, jwt := range config.JWT {
		o := oidc.Options{JWTAuthenticator: jwt, SupportedSigningAlgs: algorithms, DisallowedIssuers: a.options.Issuers, APIServerID: a.options.Server}
		if err := connect(&o, a.options.Egress); err != nil {
			stop()
			return nil, err
		}
		one, err := oidc.New(ctx, o)
		if err != nil {
			stop()
			return nil, err
		}
		all, p.checks = append(all, one), append(p.checks, one.HealthCheck)
	}
	if len(all) > 0 {
		p.tokens = cache.New(authenticator.WrapAudienceAgnosticToken(a.options.Audiences, union.NewFailOnError(all...)), true, cacheTime, 0)
	}
	return p, nil
}

// connect has a provider asked as the library would ask it, but reads only so much of what it answers.
func connect(o *oidc.Options, lookup egressselector.Lookup) error {
	issuer := o.JWTAuthenticator.Issuer
	if issuer.EgressSelectorType != "" {
		o.EgressLookup = lookup // the library says so if there is no such way out
		if issuer.CertificateAuthority != "" {
			var err error
			o.CAContentProvider, err = dynamiccertificates.NewStaticCAContent("oidc-authenticator", []byte(issuer.CertificateAuthority))
			return err
		}
		return nil
	}
	var roots *x509.CertPool // nil: the machine's
	if issuer.CertificateAuthority != "" {
		var err error
		if roots, err = certutil.NewPoolFromBytes([]byte(issuer.CertificateAuthority)); err != nil {
			return fmt.Errorf("OpenID Connect provider %s: read its certificate authority: %w", issuer.URL, err)
		}
	}
	transport := utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}) // #nosec G402 -- the library's default
	o.Client = &http.Client{Transport: extremes.BoundAnswers(transport), Timeout: requestTimeout}
	return nil
}

// AuthenticateToken implements authenticator.Token.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	p := a.current.Load()
	if p.tokens == nil {
		return nil, false, nil
	}
	return p.tokens.AuthenticateToken(ctx, token)
}

// Run reads the file again when it changes, until ctx ends.
func (a *Authenticator) Run(ctx context.Context) error {
	if a.options.File != "" {
		configfile.Follow(ctx, a.options.File, func(ctx context.Context) {
			if err := a.reload(ctx); err != nil {
				slog.Error("authentication configuration not reloaded; the one before stays in use", "file", a.options.File, "err", err)
			}
		})
	}
	<-ctx.Done()
	return ctx.Err()
}

// reload takes over the file if it has changed and its providers answer.
func (a *Authenticator) reload(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			reloads.RecordAuthenticationConfigAutomaticReloadFailure(a.options.Server)
		}
	}()
	text, err := os.ReadFile(a.options.File)
	if err != nil || bytes.Equal(text, a.text) {
		return err
	}
	config, err := decode(text)
	if err == nil && !reflect.DeepEqual(config.Anonymous, a.anonymous) {
		err = field.Forbidden(field.NewPath("anonymous"), "changed from initial configuration file")
	}
	var next *providers
	if err == nil {
		next, err = a.build(config, oidc.AllValidSigningAlgorithms())
	}
	if err != nil {
		a.text = text // it will not get better by itself
		return err
	}
	if err := next.await(ctx); err != nil {
		next.stop()
		return err
	}
	a.text = text
	old := a.current.Swap(next)
	time.AfterFunc(overlap, old.stop)
	reloads.RecordAuthenticationConfigAutomaticReloadSuccess(a.options.Server, string(text))
	slog.Info("authentication configuration reloaded", "file", a.options.File)
	return nil
}

// await returns when all providers have shown their keys.
func (p *providers) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	for {
		var faults []error
		for _, check := range p.checks {
			faults = append(faults, check())
		}
		err := errors.Join(faults...)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(healthRetry):
		}
	}
}
