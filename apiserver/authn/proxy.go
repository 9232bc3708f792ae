package authn

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
)

// A FrontProxy is one that authenticates users itself and names them in headers. It is told by its client certificate.
type FrontProxy struct {
	names, uids, groups, extras headerrequest.StaticStringSlice
	request                     authenticator.Request
	authorities                 atomic.Pointer[x509.CertPool]
}

// ProxyConfig says which proxies are believed, and what their headers are called.
type ProxyConfig struct {
	CAs          *x509.CertPool
	AllowedNames []string // common names of the proxies' certificates; none: any
	UserHeaders, UIDHeaders, GroupHeaders,
	ExtraPrefixes []string
}

// Validate reports what is wrong with the headers, in the words of the flags that name them.
func (c *ProxyConfig) Validate() error {
	var faults []error
	for _, of := range []struct {
		flag   string
		values []string
	}{
		{"requestheader-username-headers", c.UserHeaders}, {"requestheader-group-headers", c.GroupHeaders},
		{"requestheader-extra-headers-prefix", c.ExtraPrefixes}, {"requestheader-allowed-names", c.AllowedNames},
		{"requestheader-uid-headers", c.UIDHeaders},
	} {
		if slices.ContainsFunc(of.values, func(v string) bool { return strings.TrimSpace(v) == "" }) {
			faults = append(faults, fmt.Errorf("empty value in %q", of.flag))
		}
	}
	standard := func(h string) bool { return strings.EqualFold(h, "X-Remote-Uid") }
	if len(c.UIDHeaders) > 0 && !slices.ContainsFunc(c.UIDHeaders, standard) {
		faults = append(faults, errors.New("--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work"))
	}
	return errors.Join(faults...)
}

// NewFrontProxy returns an authenticator for the proxies of c.
func NewFrontProxy(c ProxyConfig) *FrontProxy {
	p := &FrontProxy{names: c.UserHeaders, uids: c.UIDHeaders, groups: c.GroupHeaders, extras: c.ExtraPrefixes}
	p.Trust(c.CAs)
	verify := func() (x509.VerifyOptions, bool) {
		return x509.VerifyOptions{Roots: p.authorities.Load(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true
	}
	p.request = headerrequest.NewDynamicVerifyOptionsSecure(verify, headerrequest.StaticStringSlice(c.AllowedNames), p.names, p.uids, p.groups, p.extras)
	return p
}

// Trust replaces the authorities of the proxies' certificates.
func (p *FrontProxy) Trust(authorities *x509.CertPool) { p.authorities.Store(authorities) }

// user returns whom the headers of a request name. Requests that are no proxy's are none of its business: their
// certificate is for somebody else to verify.
func (p *FrontProxy) user(r *http.Request) (*authenticator.Response, bool, error) {
	if !p.named(r.Header) {
		return nil, false, nil
	}
	return p.request.AuthenticateRequest(r)
}

// named reports whether a header names a user. Without one a request is no proxy's, whatever its certificate, and
// need not pay for the verification of that.
func (p *FrontProxy) named(h http.Header) bool {
	for _, name := range p.names {
		if h.Get(name) != "" {
			return true
		}
	}
	return false
}

// claims are the headers that show or claim an identity: those that a proxy sends by custom, and those of the proxies that
// are believed. They are taken off every request, whoever is believed: nothing behind this server shall be fooled.
type claims struct {
	names    []string // in canonical form
	prefixes []string
}

func newClaims(p *FrontProxy) claims {
	c := claims{names: []string{"Authorization", "X-Remote-User", "X-Remote-Uid", "X-Remote-Group"}, prefixes: []string{"X-Remote-Extra-"}}
	if p == nil {
		return c
	}
	for _, name := range slices.Concat(p.names, p.uids, p.groups) {
		if name = http.CanonicalHeaderKey(name); !slices.Contains(c.names, name) {
			c.names = append(c.names, name)
		}
	}
	for _, prefix := range p.extras {
		if !slices.Contains(c.prefixes, prefix) {
			c.prefixes = append(c.prefixes, prefix)
		}
	}
	return c
}

// clear takes the headers off. Every request pays for it.
func (c *claims) clear(h http.Header) {
	for _, name := range c.names {
		delete(h, name)
	}
	for key := range h {
		for _, prefix := range c.prefixes {
			if len(key) >= len(prefix) && strings.EqualFold(key[:len(prefix)], prefix) {
				delete(h, key)
			}
		}
	}
}
