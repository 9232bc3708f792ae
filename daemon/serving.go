package daemon

import (
	"crypto/tls"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// serving is the certificate of the node in a server's process. Nobody has to be asked for another: it is issued anew
// when the old one nears its end, which those who connect find out.
type serving struct {
	issue func() (tls.Certificate, error) // the one on disk, or a new one if that will not do much longer

	renewing sync.Mutex
	current  atomic.Pointer[looked]
}

// looked is the certificate, and when it was last seen to be good for a while.
type looked struct {
	cert tls.Certificate
	at   time.Time
}

// lookEvery is how often the certificate on disk is looked at. It lasts for months after it ought to be replaced.
const lookEvery = time.Hour

func newServing(issue func() (tls.Certificate, error)) (*serving, error) {
	s := &serving{issue: issue}
	cert, err := issue()
	s.current.Store(&looked{cert, time.Now()})
	return s, err
}

// get is for tls.Config. One client waits for the disk when it is time to look; all others are shown what there is.
func (s *serving) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if time.Since(s.current.Load().at) >= lookEvery && s.renewing.TryLock() {
		s.renew()
		s.renewing.Unlock()
	}
	return &s.current.Load().cert, nil
}

func (s *serving) renew() {
	cert, err := s.issue()
	if err != nil {
		slog.Error("The node's serving certificate is not renewed; the old one is used on", "err", err)
		cert = s.current.Load().cert
	}
	s.current.Store(&looked{cert, time.Now()})
}
