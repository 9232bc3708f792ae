package authn

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"testing"

	"clipper/pki"
)

// BenchmarkCertificate is what a request with a known client certificate pays.
func BenchmarkCertificate(b *testing.B) {
	keys, err := pki.LoadOrCreate(b.TempDir(), pki.Options{})
	if err != nil {
		b.Fatal(err)
	}
	a := New(Config{ClientCAs: keys.ClientCAs(), Proxy: NewFrontProxy(ProxyConfig{CAs: keys.FrontProxyCA.Pool(), AllowedNames: []string{pki.FrontProxyUser},
		UserHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"}, GroupHeaders: []string{"X-Remote-Group"}, ExtraPrefixes: []string{"X-Remote-Extra-"}})})
	req := &http.Request{Header: http.Header{"Accept": {"application/json"}, "User-Agent": {"kubectl"}, "Accept-Encoding": {"gzip"}}, URL: &url.URL{Path: "/api"},
		TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{keys.Admin.Leaf}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := a.AuthenticateRequest(req); !ok {
			b.Fatal(err)
		}
	}
}
