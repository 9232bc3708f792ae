package daemon

import (
	"crypto/tls"
	"log/slog"
	"sync"
	"time"
)

// serving is the certificate of the node in a server's process. Nobody has to be asked for another: it is issued anew
// when the old one nears its end, which those who connect find out.
type serving struct {
	issue func() (tls.Certificate, error) // the one on disk, or a new one if that will not do much longer

	mu     sync.Mutex
	cert   *tls.Certificate
	looked time.Time
}

// lookEvery is how often the certificate on disk is looked at. It lasts for months after it ought to be replaced.
const lookEvery = time.Hour

func newServing(issue func() (tls.Certificate, error)) (*serving, error) {
	cert, err := issue()
	return &serving{issue: issue, cert: &cert, looked: time.Now()}, err
}

// get is for tls.Config.
func (s *serving) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.looked) < lookEvery {
		return s.cert, nil
	}
	s.looked = time.Now()
	cert, err := s.issue()
	if err != nil {
		slog.Error("The node's serving certificate is not renewed; the old one is used on", "err", err)
		return s.cert, nil
	}
	s.cert = &cert
	return s.cert, nil
}
