// Package authn finds out who sends a request: by TLS client certificate, service-account token,
// bootstrap token or static token. A request that shows no credential is system:anonymous, and what that
// user may do is for package authz to say; one that shows a bad or expired credential is refused.
package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver/authn/satoken"
)

// Config says which credentials a server accepts.
type Config struct {
	ClientCAs *x509.CertPool       // of client certificates; nil accepts none
	Tokens    *satoken.Checker     // nil: no service-account tokens
	Client    api.Client           // for bootstrap tokens; nil: none
	Static    map[string]user.Info // bearer tokens by value
	Audiences []string             // of the API server; tokens that name none are for these
	Now       func() time.Time     // nil: the clock
}

// An Authenticator implements k8s.io/apiserver's authenticator.Request. It always answers ok or an error.
type Authenticator struct {
	certs     *certificates
	tokens    *satoken.Checker
	bootstrap *bootstrapTokens
	static    map[[sha256.Size]byte]user.Info // by digest: the look-up tells nothing about the value by its time
	audiences []string
}

// New returns an Authenticator for cfg.
func New(cfg Config) *Authenticator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Authenticator{tokens: cfg.Tokens, static: map[[sha256.Size]byte]user.Info{}, audiences: cfg.Audiences}
	if cfg.ClientCAs != nil {
		a.certs = &certificates{roots: cfg.ClientCAs, now: cfg.Now}
	}
	if cfg.Client != nil {
		a.bootstrap = &bootstrapTokens{secrets: api.Secrets.View(cfg.Client), now: cfg.Now}
	}
	for token, info := range cfg.Static {
		a.static[sha256.Sum256([]byte(token))] = withGroup(info, user.AllAuthenticated)
	}
	return a
}

// errUnauthorized is what a bad bearer token comes to; details never reach the client.
var errUnauthorized = errors.New("invalid bearer token")

var anonymous = &authenticator.Response{
	User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
}

// AuthenticateRequest says who sent req. Errors mean 401 Unauthorized.
func (a *Authenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	var certErr error
	if a.certs != nil && req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
		info, err := a.certs.user(req.TLS.PeerCertificates)
		if err == nil {
			return &authenticator.Response{User: info}, true, nil
		}
		certErr = err // a good token beside a bad certificate still counts, as upstream
	}
	token, shown := bearerToken(req)
	if !shown {
		if certErr != nil {
			return nil, false, certErr
		}
		return anonymous, true, nil
	}
	info, auds, err := a.Token(token, nil)
	if err != nil {
		return nil, false, errors.Join(certErr, err)
	}
	// The credential must not travel on to handlers and proxied back ends.
	req.Header.Del("Authorization")
	return &authenticator.Response{User: info, Audiences: auds}, true, nil
}

// Token says whom a bearer token stands for, and for which of the wanted audiences (nil: the API
// server's) it is. It is also what TokenReview asks.
func (a *Authenticator) Token(token string, audiences []string) (user.Info, []string, error) {
	if info, ok := a.static[sha256.Sum256([]byte(token))]; ok {
		auds, err := a.ownAudiences(audiences)
		return info, auds, err
	}
	var faults []error
	if a.tokens != nil {
		info, auds, ok, err := a.tokens.Check(token, audiences)
		if ok {
			return withGroup(info, user.AllAuthenticated), auds, nil
		}
		faults = append(faults, err)
	}
	if a.bootstrap != nil {
		info, ok, err := a.bootstrap.user(token)
		if ok {
			auds, err := a.ownAudiences(audiences)
			return withGroup(info, user.AllAuthenticated), auds, err
		}
		faults = append(faults, err)
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, err
	}
	return nil, nil, errUnauthorized
}

// ownAudiences returns those of the wanted audiences that the API server is. Tokens without an audience are
// for the API server alone.
func (a *Authenticator) ownAudiences(wanted []string) (auds []string, err error) {
	if wanted == nil {
		return nil, nil
	}
	for _, w := range wanted {
		if slices.Contains(a.audiences, w) {
			auds = append(auds, w)
		}
	}
	if auds == nil {
		return nil, fmt.Errorf("token is not for the audiences %q", wanted)
	}
	return auds, nil
}

const (
	websocketProtocols   = "Sec-WebSocket-Protocol"
	websocketTokenPrefix = "base64url.bearer.authorization.k8s.io."
)

// bearerToken returns the bearer token of req, from its Authorization header or, for browsers' WebSockets
// that cannot set one, from the offered subprotocols, which it then removes.
func bearerToken(req *http.Request) (token string, shown bool) {
	scheme, token, _ := strings.Cut(strings.TrimSpace(req.Header.Get("Authorization")), " ")
	if strings.EqualFold(scheme, "bearer") {
		token = strings.TrimSpace(token)
		if token != "" {
			return token, true
		}
	}
	if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") {
		return "", false
	}
	return websocketToken(req.Header)
}

func websocketToken(h http.Header) (token string, shown bool) {
	var kept []string
	for _, line := range h.Values(websocketProtocols) {
		for proto := range strings.SplitSeq(line, ",") {
			proto = strings.TrimSpace(proto)
			encoded, ok := strings.CutPrefix(proto, websocketTokenPrefix)
			if !ok || shown {
				kept = append(kept, proto)
				continue
			}
			raw, err := base64.RawURLEncoding.DecodeString(encoded)
			if err != nil || !utf8.Valid(raw) {
				return "", false
			}
			token, shown = string(raw), true
		}
	}
	// The token alone is no protocol that a server could answer with: upstream asks for one more.
	if !shown || len(kept) == 0 {
		return "", false
	}
	h.Set(websocketProtocols, strings.Join(kept, ","))
	return token, true
}

// withGroup returns info with group added. Info is shared: it is never changed.
func withGroup(info user.Info, group string) user.Info {
	groups := info.GetGroups()
	for _, g := range groups {
		if g == group {
			return info
		}
	}
	return &user.DefaultInfo{
		Name: info.GetName(), UID: info.GetUID(), Extra: info.GetExtra(),
		Groups: append(groups[:len(groups):len(groups)], group),
	}
}
