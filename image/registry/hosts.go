package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/BurntSushi/toml"
)

// Config says how registries are reached. It is read-only after New.
type Config struct {
	// HostsDirs are folders as containerd's config_path has them: HOST/hosts.toml, or _default/hosts.toml
	// for the rest, names the mirrors of a registry and how to verify them. The first folder that has a
	// file for a registry decides.
	HostsDirs []string
	// PlainHTTP lists registries (host or host:port) that speak no TLS. Loopback addresses may always.
	PlainHTTP []string
	// Transport replaces the network, for tests. Default: http.DefaultTransport's settings.
	Transport *http.Transport
}

// An endpoint is one place to ask for a registry's content.
type endpoint struct {
	host      string // host or host:port
	plainHTTP bool
	verify    tlsFiles
	mirror    bool
}

type tlsFiles struct {
	ca         []string
	client     [][2]string // certificate, key
	skipVerify bool
}

// hostsFile is the part of containerd's hosts.toml that is understood.
type hostsFile struct {
	Server string              `toml:"server"`
	Host   map[string]hostPart `toml:"host"`
	hostPart
}

type hostPart struct {
	Capabilities []string `toml:"capabilities"`
	CA           any      `toml:"ca"`     // a path or a list
	Client       any      `toml:"client"` // a path, or a list of paths or [cert, key] pairs
	SkipVerify   bool     `toml:"skip_verify"`
}

// endpoints returns where to ask for the content of registry, in order: its mirrors, then itself.
func (c *Config) endpoints(registry string) ([]endpoint, error) {
	for _, dir := range c.HostsDirs {
		for _, name := range []string{registry, strings.Replace(registry, ":", "_", 1) + "_", "_default"} {
			path := filepath.Join(dir, name, "hosts.toml")
			b, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("registry %s: %w", registry, err)
			}
			eps, err := c.parseHosts(registry, path, b)
			if err != nil {
				return nil, fmt.Errorf("registry %s: %s: %w", registry, path, err)
			}
			return eps, nil
		}
	}
	return []endpoint{c.direct(registry)}, nil
}

func (c *Config) direct(registry string) endpoint {
	return endpoint{host: registry, plainHTTP: slices.Contains(c.PlainHTTP, registry)}
}

func (c *Config) parseHosts(registry, path string, b []byte) ([]endpoint, error) {
	var file hostsFile
	meta, err := toml.Decode(string(b), &file)
	if err != nil {
		return nil, err
	}
	var eps []endpoint
	for _, key := range meta.Keys() { // in the order of the file, which is the order to try
		if len(key) != 2 || key[0] != "host" {
			continue
		}
		ep, err := parseHost(key[1], filepath.Dir(path), file.Host[key[1]])
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", key[1], err)
		}
		caps := file.Host[key[1]].Capabilities
		if len(caps) > 0 && (!slices.Contains(caps, "pull") || !slices.Contains(caps, "resolve")) {
			continue
		}
		ep.mirror = true
		eps = append(eps, ep)
	}
	origin := c.direct(registry)
	if file.Server != "" {
		if origin, err = parseHost(file.Server, filepath.Dir(path), file.hostPart); err != nil {
			return nil, fmt.Errorf("server %q: %w", file.Server, err)
		}
		origin.mirror = origin.host != registry
	}
	return append(eps, origin), nil
}

func parseHost(raw, dir string, p hostPart) (endpoint, error) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return endpoint{}, errors.New("want http://HOST[:PORT] or https://HOST[:PORT]")
	}
	if path := strings.Trim(u.Path, "/"); path != "" && path != "v2" {
		return endpoint{}, fmt.Errorf("path %q is not supported; serve the registry at the root of a host", u.Path)
	}
	ep := endpoint{host: u.Host, plainHTTP: u.Scheme == "http"}
	ep.verify.skipVerify = p.SkipVerify
	for _, f := range stringsOf(p.CA) {
		ep.verify.ca = append(ep.verify.ca, within(dir, f))
	}
	ep.verify.client = clientPairs(dir, p.Client)
	return ep, nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func stringsOf(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

func clientPairs(dir string, v any) [][2]string {
	list, ok := v.([]any)
	if !ok {
		if s, ok := v.(string); ok {
			return [][2]string{{within(dir, s), within(dir, s)}}
		}
		return nil
	}
	var out [][2]string
	for _, e := range list {
		switch pair := stringsOf(e); len(pair) {
		case 1:
			out = append(out, [2]string{within(dir, pair[0]), within(dir, pair[0])})
		case 2:
			out = append(out, [2]string{within(dir, pair[0]), within(dir, pair[1])})
		}
	}
	return out
}

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

// transport returns a round tripper for this endpoint that keeps to its scheme.
func (c *Config) transport(e endpoint) (http.RoundTripper, error) {
	var t *http.Transport
	if c.Transport != nil {
		t = c.Transport.Clone()
	} else {
		t = http.DefaultTransport.(*http.Transport).Clone()
		t.ResponseHeaderTimeout = 30 * time.Second
		t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{}
	}
	t.TLSClientConfig.InsecureSkipVerify = e.verify.skipVerify
	for _, f := range e.verify.ca {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("read CA of registry %s: %w", e.host, err)
		}
		if t.TLSClientConfig.RootCAs == nil {
			if t.TLSClientConfig.RootCAs, err = x509.SystemCertPool(); err != nil {
				t.TLSClientConfig.RootCAs = x509.NewCertPool()
			}
		}
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA of registry %s: %s holds no PEM certificate", e.host, f)
		}
	}
	for _, pair := range e.verify.client {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return nil, fmt.Errorf("read client certificate for registry %s: %w", e.host, err)
		}
		t.TLSClientConfig.Certificates = append(t.TLSClientConfig.Certificates, cert)
	}
	return &schemeGuard{next: t, plain: e.mayPlain()}, nil
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
