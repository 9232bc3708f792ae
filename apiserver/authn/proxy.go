package authn

import (
	"crypto/x509"
	"net/http"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
)

// A FrontProxy is one that authenticates users itself and names them in headers. It is told by its client certificate.
type FrontProxy struct {
	names, uids, groups, extras headerrequest.StaticStringSlice
	request                     authenticator.Request
}

// ProxyConfig says which proxies are believed, and what their headers are called.
type ProxyConfig struct {
	CAs          *x509.CertPool
	AllowedNames []string // common names of the proxies' certificates; none: any
	UserHeaders, UIDHeaders, GroupHeaders,
	ExtraPrefixes []string
}

// NewFrontProxy returns an authenticator for the proxies of c.
func NewFrontProxy(c ProxyConfig) *FrontProxy {
	p := &FrontProxy{names: c.UserHeaders, uids: c.UIDHeaders, groups: c.GroupHeaders, extras: c.ExtraPrefixes}
	verify := func() (x509.VerifyOptions, bool) {
		return x509.VerifyOptions{Roots: c.CAs, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true
	}
	p.request = headerrequest.NewDynamicVerifyOptionsSecure(verify, headerrequest.StaticStringSlice(c.AllowedNames), p.names, p.uids, p.groups, p.extras)
	return p
}

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

// standardHeaders are removed from every request, whoever is believed: nothing behind this server shall be fooled.
var standardHeaders = struct {
	names, uids, groups, extras headerrequest.StaticStringSlice
}{
	[]string{"X-Remote-User"}, []string{"X-Remote-Uid"}, []string{"X-Remote-Group"}, []string{"X-Remote-Extra-"},
}

// clearHeaders takes off a request what shows or claims an identity.
func (a *Authenticator) clearHeaders(h http.Header) {
	h.Del("Authorization")
	s := standardHeaders
	headerrequest.ClearAuthenticationHeaders(h, s.names, s.uids, s.groups, s.extras)
	if p := a.proxy; p != nil {
		headerrequest.ClearAuthenticationHeaders(h, p.names, p.uids, p.groups, p.extras)
	}
}
