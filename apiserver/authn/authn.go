// Package authn finds out who sends a request: by the headers of a trusted front proxy, TLS client certificate or bearer
// token, which may be static, of a service account, for bootstrapping, of an OpenID provider, or known to a webhook. A
// request that shows no credential is system:anonymous, where that is allowed, and what that user may do is for package
// authz to say; one that shows a bad or expired credential is refused.
package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/apiserver/authn/satoken"
)

// Config says which credentials a server accepts.
type Config struct {
	Proxy     *FrontProxy           // nil: headers say nothing about who is asking
	ClientCAs *x509.CertPool        // of client certificates; nil accepts none
	Static    StaticTokens          // bearer tokens by value
	Tokens    *satoken.Checker      // nil: no service-account tokens
	Client    api.Client            // for bootstrap tokens; nil: they do not count
	More      []authenticator.Token // asked in order about tokens that nobody above knows
	// Anonymous says who may go without credentials. Nil: everybody.
	Anonymous *apiserver.AnonymousAuthConfig
	Audiences []string         // of the API server; tokens that name none are for these
	Now       func() time.Time // nil: the clock
}

// An Authenticator implements k8s.io/apiserver's authenticator.Request.
type Authenticator struct {
	proxy     *FrontProxy
	claims    claims
	certs     atomic.Pointer[certificates]
	now       func() time.Time
	static    StaticTokens
	tokens    *satoken.Checker
	bootstrap *bootstrapTokens
	more      []authenticator.Token
	anonymous apiserver.AnonymousAuthConfig
	audiences []string
}

// New returns an Authenticator for cfg.
func New(cfg Config) *Authenticator {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Authenticator{now: cfg.Now, proxy: cfg.Proxy, claims: newClaims(cfg.Proxy), static: cfg.Static, tokens: cfg.Tokens, more: cfg.More, audiences: cfg.Audiences}
	a.anonymous.Enabled = true
	if cfg.Anonymous != nil {
		a.anonymous = *cfg.Anonymous
	}
	if cfg.ClientCAs != nil {
		a.TrustClients(cfg.ClientCAs)
	}
	if cfg.Client != nil {
		a.bootstrap = &bootstrapTokens{secrets: api.Secrets.View(cfg.Client), now: cfg.Now}
	}
	return a
}

// TrustClients replaces the authorities of client certificates. It counts from the next request on, on connections
// that are open, too.
func (a *Authenticator) TrustClients(authorities *x509.CertPool) {
	a.certs.Store(&certificates{roots: authorities, now: a.now})
}

// Audiences returns the names of the API server.
func (a *Authenticator) Audiences() []string { return a.audiences }

// errUnauthorized is what a bad bearer token comes to; only those who review the token see the text.
var errUnauthorized = errors.New("invalid bearer token")

var anonymous = &authenticator.Response{
	User: &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}},
}

// AuthenticateRequest says who sent req. An error, and ok false, mean 401 Unauthorized.
func (a *Authenticator) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	resp, ok, err := a.identify(req)
	if ok {
		a.claims.clear(req.Header) // nothing behind this point needs a credential, nor should believe a claim
	}
	return resp, ok, err
}

func (a *Authenticator) identify(req *http.Request) (resp *authenticator.Response, ok bool, err error) {
	var faults []error
	if a.proxy != nil {
		resp, ok, err = a.proxy.user(req)
		switch {
		case ok:
			return authenticated(resp), true, nil
		case err != nil: // requests of everybody else come this way, too: nothing is allocated for them
			faults = append(faults, err)
		}
	}
	if certs := a.certs.Load(); certs != nil && req.TLS != nil && len(req.TLS.PeerCertificates) > 0 {
		info, err := certs.user(req.TLS.PeerCertificates)
		if err == nil && info != nil {
			return &authenticator.Response{User: info}, true, nil
		}
		faults = append(faults, err) // a good token beside a bad certificate still counts
	}
	switch resp, err = a.byToken(req); {
	case resp != nil:
		return resp, true, nil
	case err != nil:
		faults = append(faults, err)
	}
	if err := utilerrors.NewAggregate(faults); err != nil {
		return nil, false, err
	}
	if !a.mayBeAnonymous(req.URL.Path) {
		return nil, false, nil
	}
	return anonymous, true, nil
}

// authenticated adds the group of everybody who is not anonymous.
func authenticated(resp *authenticator.Response) *authenticator.Response {
	u := resp.User
	if u.GetName() == user.Anonymous || slices.Contains(u.GetGroups(), user.AllUnauthenticated) {
		return resp
	}
	return &authenticator.Response{Audiences: resp.Audiences, User: withGroup(u, user.AllAuthenticated)}
}

// byToken returns nil without an error if req shows no token.
func (a *Authenticator) byToken(req *http.Request) (*authenticator.Response, error) {
	var fault error
	if token := bearerToken(req); token != "" {
		info, auds, err := a.Token(req.Context(), token, nil)
		if err == nil {
			return &authenticator.Response{User: info, Audiences: auds}, nil
		}
		fault = err
	}
	token, others, err := websocketToken(req)
	if token == "" {
		return nil, errors.Join(fault, err)
	}
	info, auds, err := a.Token(req.Context(), token, nil)
	if err != nil {
		return nil, errors.Join(fault, err)
	}
	req.Header.Set(websocketProtocols, others) // what answers shall not choose the token
	return &authenticator.Response{User: info, Audiences: auds}, nil
}

func (a *Authenticator) mayBeAnonymous(path string) bool {
	if !a.anonymous.Enabled || len(a.anonymous.Conditions) == 0 {
		return a.anonymous.Enabled
	}
	return slices.ContainsFunc(a.anonymous.Conditions, func(c apiserver.AnonymousAuthCondition) bool { return c.Path == path })
}

// Token says whom a bearer token stands for, and for which of the wanted audiences (nil: the API
// server's) it is. It is also what TokenReview asks.
func (a *Authenticator) Token(ctx context.Context, token string, audiences []string) (user.Info, []string, error) {
	if info, ok := a.static.user(token); ok {
		return a.agnostic(info, audiences)
	}
	var faults []error
	if a.tokens != nil {
		info, auds, ok, err := a.tokens.Check(ctx, token, audiences)
		if ok {
			return withGroup(info, user.AllAuthenticated), auds, nil
		}
		if err != nil {
			faults = append(faults, err)
		}
	}
	if a.bootstrap != nil {
		if info, ok := a.bootstrap.user(token); ok {
			return a.agnostic(info, audiences)
		}
	}
	if len(a.more) > 0 {
		if audiences == nil {
			audiences = a.audiences
		}
		ctx = authenticator.WithAudiences(ctx, audiences)
		for _, more := range a.more {
			resp, ok, err := more.AuthenticateToken(ctx, token)
			if ok && err == nil {
				if authenticator.Audiences(resp.Audiences).Intersect(audiences) == nil {
					return nil, nil, fmt.Errorf("unable to match the audience: %v , accepted: %v", resp.Audiences, audiences)
				}
				return authenticated(resp).User, resp.Audiences, nil
			}
			faults = append(faults, err)
		}
	}
	if err := utilerrors.NewAggregate(faults); err != nil {
		return nil, nil, err
	}
	return nil, nil, errUnauthorized
}

// agnostic answers for a token without an audience: it is for the API server alone.
func (a *Authenticator) agnostic(info user.Info, wanted []string) (user.Info, []string, error) {
	info = withGroup(info, user.AllAuthenticated)
	if wanted == nil {
		return info, a.audiences, nil
	}
	auds := authenticator.Audiences(wanted).Intersect(a.audiences)
	if len(auds) == 0 {
		return nil, nil, errUnauthorized
	}
	return info, auds, nil
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
