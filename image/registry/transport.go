package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"clipper/image/reference"
)

// mayPlain: an unencrypted registry on this machine is nobody's business but the machine's.
func (e endpoint) mayPlain() bool {
	if e.plainHTTP {
		return true
	}
	host := e.host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	idleTimeout   = 10 * time.Second // connections are one pull's: nobody uses them afterwards
)

// transport returns what reaches this endpoint for the content of ref. Proxies are those of the environment.
func (c *Config) transport(e endpoint, ref reference.Ref) (http.RoundTripper, error) {
	var t *http.Transport
	if c.Transport != nil {
		t = c.Transport.Clone()
	} else {
		t = http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = headerTimeout
		t.IdleConnTimeout = idleTimeout
		dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
		if e.dialTimeout > 0 {
			dialer.Timeout = e.dialTimeout
		}
		t.DialContext = dialer.DialContext
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	if err := e.verify.apply(t.TLSClientConfig); err != nil {
		return nil, fmt.Errorf("registry %s: %w", e.host, err)
	}
	guarded := &schemeGuard{next: t, plain: e.mayPlain()}
	return &resuming{next: &located{next: guarded, endpoint: e, ref: ref}, stall: stallTime, pause: firstPause}, nil
}

func (f *tlsFiles) apply(c *tls.Config) error {
	c.InsecureSkipVerify = f.skipVerify
	for _, file := range f.ca {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read CA: %w", err)
		}
		if c.RootCAs == nil {
			if c.RootCAs, err = x509.SystemCertPool(); err != nil {
				c.RootCAs = x509.NewCertPool()
			}
		}
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("read CA: %s holds no PEM certificate", file)
		}
	}
	for _, pair := range f.client {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return fmt.Errorf("read client certificate: %w", err)
		}
		c.Certificates = append(c.Certificates, cert)
	}
	return nil
}

// schemeGuard refuses plain HTTP where it was not asked for. The registry library would try it on private
// addresses, and a redirect or a token realm might lead there: credentials and content must not. A server
// with a certificate that cannot be verified is not asked without encryption either.
type schemeGuard struct {
	next     http.RoundTripper
	plain    bool
	untrusty atomic.Pointer[error]
}

func (g *schemeGuard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		if !g.plain {
			return nil, fmt.Errorf("refusing plain HTTP to %s; configure the registry as http:// in its hosts.toml to allow it", r.URL.Host)
		}
		if err := g.untrusty.Load(); err != nil {
			return nil, *err
		}
	}
	resp, err := g.next.RoundTrip(r)
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) {
		g.untrusty.Store(&err)
	}
	return resp, err
}

// located sends requests to where an endpoint has the API, with its headers, and tells a mirror which registry it
// stands for, as containerd does.
type located struct {
	next     http.RoundTripper
	endpoint endpoint
	ref      reference.Ref
}

func (l *located) RoundTrip(r *http.Request) (*http.Response, error) {
	content := strings.HasPrefix(r.URL.Path, "/v2/"+l.ref.Repository+"/")
	if r.URL.Host != l.endpoint.host || !content && r.URL.Path != "/v2/" {
		return l.next.RoundTrip(r) // a token service, or where the content really is
	}
	r = r.Clone(r.Context())
	r.URL.Path = l.endpoint.path + strings.TrimPrefix(r.URL.Path, "/v2")
	for name, values := range l.endpoint.header {
		r.Header[name] = values
	}
	if l.endpoint.mirror && content {
		q := r.URL.Query()
		q.Set("ns", l.ref.Registry)
		r.URL.RawQuery = q.Encode()
	}
	return l.next.RoundTrip(r)
}
