package daemon

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"

	"clipper/apiserver/authn"
	"clipper/apiserver/authn/externalsigner"
	"clipper/apiserver/authn/oidc"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/authz"
	"clipper/apiserver/presence"
	"clipper/apiserver/reviews"
	"clipper/pki"
)

// IdentityOptions say who may use the API and how they show who they are. The names are those of kube-apiserver's flags.
type IdentityOptions struct {
	ClientCAFile         string // further authorities of client certificates
	TokenFile            string
	AuthenticationConfig string
	OIDC                 oidc.Flags
	TokenWebhook         authn.WebhookConfig // without a file: none
	NoBootstrapTokens    bool
	Anonymous            *bool    // nil: as AuthenticationConfig says, or yes
	APIAudiences         []string // none: the issuers

	Proxy       authn.ProxyConfig // who is believed beside the cluster's own proxy; CAs comes from ProxyCAFile
	ProxyCAFile string

	Issuers        []string // of service-account tokens; none: one named after the cluster's domain
	SigningKeyFile string   // "": the cluster's own
	// SigningEndpoint is the socket of a process that signs in place of a key; "": there is none.
	SigningEndpoint string
	KeyFiles        []string // public keys that verify as well
	JWKSURI         string   // "": at this server
	TokenLimits     reviews.TokenLimits

	Authorization authz.Options
}

func defaultIdentity() IdentityOptions {
	return IdentityOptions{
		TokenWebhook: authn.WebhookConfig{Version: "v1beta1", CacheTTL: 2 * time.Minute},
		Proxy: authn.ProxyConfig{UserHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"},
			ExtraPrefixes: []string{"X-Remote-Extra-"}}, // and no UIDs: older proxies let users write such headers
		Authorization: authz.Options{Webhook: authz.WebhookOptions{Version: "v1beta1", AuthorizedTTL: 5 * time.Minute, UnauthorizedTTL: 30 * time.Second}},
	}
}

func (o *IdentityOptions) complete() error { return errors.Join(o.Proxy.Validate(), o.checkSigner()) }

// identity is what finds out who is asking, and what decides whether they may.
type identity struct {
	signer        *satoken.Signer
	outside       *externalsigner.Signer // nil: there is none
	self          selfToken
	oidc          *oidc.Authenticator
	authenticator *authn.Authenticator
	authorizer    *authz.Authorizer
	proxy         *authn.FrontProxy
	trusted       authorities
	published     map[string]string // what extension servers are told of all this
}

// identify makes what finds out who is asking, and what decides whether they may.
func (cp *controlPlane) identify(ctx context.Context) error {
	o := &cp.options.Identity
	var err error
	if cp.signer, err = cp.newSigner(ctx); err != nil {
		return err
	}
	server := presence.Identity(cp.options.Node.Name)
	authorization := o.Authorization
	authorization.Server, authorization.Dial = server, cp.callouts.ways.ControlPlane
	if cp.authorizer, err = authz.Configured(cp.client, authorization); err != nil {
		return err
	}
	if cp.oidc, err = oidc.New(ctx, oidc.Options{File: o.AuthenticationConfig, Flags: o.OIDC, Issuers: cp.signer.Issuers(), Audiences: cp.signer.Audiences(), Server: server, Egress: cp.callouts.ways.Lookup}); err != nil {
		return err
	}
	cp.self = newSelfToken(cp.signer.Audiences())
	config := authn.Config{
		Client:    cp.client,
		Tokens:    satoken.NewChecker(cp.signer, cp.client, time.Now),
		More:      []authenticator.Token{cp.self, cp.oidc},
		Audiences: cp.signer.Audiences(),
	}
	if o.NoBootstrapTokens {
		config.Client = nil
	}
	if config.Anonymous, err = cp.anonymous(); err != nil {
		return err
	}
	if cp.trusted, err = cp.trust(); err != nil {
		return err
	}
	cp.proxy = cp.frontProxy(pool(cp.trusted.proxies))
	config.ClientCAs, config.Proxy = pool(cp.trusted.clients), cp.proxy
	if cp.published, err = cp.publish(cp.trusted); err != nil {
		return err
	}
	if o.TokenFile != "" {
		if config.Static, err = authn.LoadStaticTokens(o.TokenFile); err != nil {
			return err
		}
	}
	if o.TokenWebhook.File != "" {
		webhook := o.TokenWebhook
		webhook.Dial = cp.callouts.ways.ControlPlane
		hook, err := authn.NewWebhook(webhook, cp.signer.Audiences())
		if err != nil {
			return err
		}
		config.More = append(config.More, hook)
	}
	cp.authenticator = authn.New(config)
	return nil
}

// newSigner returns what signs service-account tokens.
func (cp *controlPlane) newSigner(ctx context.Context) (*satoken.Signer, error) {
	o := &cp.options.Identity
	s := satoken.Options{Issuers: o.Issuers, Audiences: o.APIAudiences}
	if len(s.Issuers) == 0 {
		s.Issuers = []string{"https://kubernetes.default.svc." + cp.options.Node.Domain}
	}
	var err error
	if s.Key, s.Verify, err = o.accountKeys(cp.pki.ServiceAccountKey); err != nil {
		return nil, err
	}
	if o.SigningEndpoint != "" {
		if cp.outside, err = o.dialSigner(ctx); err != nil {
			return nil, fmt.Errorf("while setting up external-jwt-signer: %w", err)
		}
		s.External, cp.collectors = cp.outside, append(cp.collectors, cp.outside.Collectors()...)
	}
	return satoken.NewSigner(s)
}

// accountKeys returns the key that signs service-account tokens and those that verify them beside it. The cluster's own
// is among these unless the flags say which they are: what it has signed is not lost with the first flag for another.
func (o *IdentityOptions) accountKeys(own crypto.Signer) (sign crypto.Signer, verify []crypto.PublicKey, err error) {
	if verify, err = satoken.LoadPublicKeys(o.KeyFiles); err != nil {
		return nil, nil, fmt.Errorf("--service-account-key-file: %w", err)
	}
	if o.SigningKeyFile == "" {
		return own, verify, nil
	}
	if sign, err = satoken.LoadSigningKey(o.SigningKeyFile); err != nil {
		return nil, nil, fmt.Errorf("--service-account-signing-key-file: %w", err)
	}
	if len(o.KeyFiles) == 0 {
		verify = append(verify, own.Public())
	}
	return sign, verify, nil
}

// anonymous says who may go without credentials. Where everything is allowed, strangers are not let in.
func (cp *controlPlane) anonymous() (*apiserver.AnonymousAuthConfig, error) {
	o, file := &cp.options.Identity, cp.oidc.Anonymous()
	switch {
	case file != nil && o.Anonymous != nil:
		return nil, errors.New("--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
	case file != nil:
		return file, nil
	}
	config := &apiserver.AnonymousAuthConfig{Enabled: o.Anonymous == nil || *o.Anonymous}
	if config.Enabled && slices.Contains(o.Authorization.Modes, authz.ModeAlwaysAllow) {
		slog.Warn("anonymous requests are refused, as authorization mode AlwaysAllow would let them do everything")
		config.Enabled = false
	}
	return config, nil
}

// frontProxy believes the cluster's own proxy and those of the options.
func (cp *controlPlane) frontProxy(authorities *x509.CertPool) *authn.FrontProxy {
	c := cp.options.Identity.Proxy
	c.CAs, c.AllowedNames = authorities, cp.proxyNames()
	return authn.NewFrontProxy(c)
}

// proxyNames are the common names of proxies that are believed.
func (cp *controlPlane) proxyNames() []string {
	return append([]string{pki.FrontProxyUser}, cp.options.Identity.Proxy.AllowedNames...)
}

// jwksURI is where others find the keys of service-account tokens.
func (cp *controlPlane) jwksURI() string {
	if uri := cp.options.Identity.JWKSURI; uri != "" {
		return uri
	}
	return "https://" + cp.advertise.String() + reviews.JWKSPath
}
