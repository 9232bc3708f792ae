// Package clientcert shows the servers that the API server calls who is calling: by a certificate that does not change
// while the process lives, or by one in files, which can be replaced at any time. It is read again for each connection,
// and when it changes, connections on which another was shown end.
package clientcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/util/connrotation"

	"clipper/apiserver/configfile"
	"clipper/apiserver/egress"
)

// An Identity returns the certificate to be shown; it is for tls.Config.GetClientCertificate.
type Identity func(*tls.CertificateRequestInfo) (*tls.Certificate, error)

// A Source is where the certificate comes from.
type Source struct {
	certFile, keyFile string                          // "": it does not change
	last              atomic.Pointer[tls.Certificate] // that was good
	connections       *connrotation.ConnectionTracker

	mu    sync.Mutex
	known []byte // the leaf that connections of now are shown
}

// dialTimeout bounds dials, unless there is a way that bounds them itself.
const dialTimeout = 10 * time.Second

// Fixed always shows c.
func Fixed(c tls.Certificate) *Source {
	s := &Source{}
	s.last.Store(&c)
	return s
}

// Files shows what is in the files, which must be readable now. While they are not, such as in the middle of being
// replaced, what they held before is shown.
func Files(certFile, keyFile string) (*Source, error) {
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, err
	}
	s := &Source{certFile: certFile, keyFile: keyFile, connections: connrotation.NewConnectionTracker(), known: c.Certificate[0]}
	s.last.Store(&c)
	return s, nil
}

// Identity is the Source's.
func (s *Source) Identity(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if s.certFile == "" {
		return s.last.Load(), nil
	}
	c, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		slog.Warn("a client certificate cannot be read again; the one from before is shown", "file", s.certFile, "err", err)
		return s.last.Load(), nil
	}
	s.last.Store(&c)
	return &c, nil
}

// Dial makes the connections on which the certificate is shown, by next; nil is an ordinary dial, or what the caller
// takes for one.
func (s *Source) Dial(next egress.Dial) egress.Dial {
	if s.certFile == "" {
		return next
	}
	if next == nil {
		next = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	return connrotation.NewDialerWithTracker(next, s.connections).DialContext
}

// Run ends connections when the certificate changes, until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	if s.certFile == "" {
		return nil
	}
	var following sync.WaitGroup
	for _, file := range []string{s.certFile, s.keyFile} {
		following.Go(func() { configfile.Follow(ctx, file, s.look) })
	}
	following.Wait()
	return ctx.Err()
}

func (s *Source) look(context.Context) {
	c, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	s.mu.Lock()
	changed := err == nil && !bytes.Equal(c.Certificate[0], s.known)
	if changed {
		s.known = c.Certificate[0]
	}
	s.mu.Unlock()
	if changed {
		slog.Info("a client certificate has changed; connections on which the one from before was shown end", "file", s.certFile)
		s.connections.CloseAll()
	}
}
