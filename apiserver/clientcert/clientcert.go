// Package clientcert shows the servers that the API server calls who is calling: by a certificate that does not change
// while the process lives, or by one in files, which are read again for each connection, so that it can be replaced at
// any time.
package clientcert

import (
	"crypto/tls"
	"log/slog"
	"sync/atomic"
)

// An Identity returns the certificate to be shown; it is for tls.Config.GetClientCertificate.
type Identity func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// Fixed always shows c.
func Fixed(c tls.Certificate) Identity {
	return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
}

// Files shows what is in the files, which must be readable now. While they are not, such as in the middle of being
// replaced, what they held before is shown.
func Files(certFile, keyFile string) (Identity, error) {
	f := &files{certFile: certFile, keyFile: keyFile}
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	f.last.Store(&c)
	return f.get, nil
}

type files struct {
	certFile, keyFile string
	last              atomic.Pointer[tls.Certificate] // that was good
}

func (f *files) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		slog.Warn("a client certificate cannot be read again; the one from before is shown", "file", f.certFile, "err", err)
		return f.last.Load(), nil
	}
	f.last.Store(&c)
	return &c, nil
}
