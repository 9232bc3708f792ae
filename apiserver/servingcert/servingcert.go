// Package servingcert shows clients the certificates that an operator has put into files, each to those who ask for
// one of its names, and reads them again when they change.
package servingcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/component-base/cli/flag"

	"clipper/apiserver/configfile"
)

// Options are kube-apiserver's flags of the same names. The zero value changes nothing.
type Options struct {
	CertFile, KeyFile string // what is shown to those who ask for no other
	// CertDir is where they are looked for if they are not given. The server's own is put there if it has none.
	CertDir      string
	SNI          []flag.NamedCertKey
	MinVersion   string // VersionTLS12, ...; "" for 1.2
	CipherSuites []string
	Curves       []int32 // key exchange mechanisms by their IDs in Go; none: Go's own choice
}

// LoopbackName is asked for by the server itself alone: it is shown its own certificate, whatever the files say.
const LoopbackName = "apiserver-loopback-client"

// Apply puts the certificates and limits into c, whose own certificate is shown where no file has one. The files
// must be readable now; Files.Run reads them again when they change.
func Apply(c *tls.Config, o Options) (*Files, error) {
	version, err := flag.TLSVersion(o.MinVersion)
	if err != nil {
		return nil, fmt.Errorf("--tls-min-version: %w", err)
	}
	suites, err := flag.TLSCipherSuites(o.CipherSuites)
	if err != nil {
		return nil, fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	curves, err := flag.TLSCurvePreferences(o.Curves)
	if err != nil {
		return nil, fmt.Errorf("--tls-curve-preferences: %w", err)
	}
	c.MinVersion, c.CipherSuites, c.CurvePreferences = version, suites, curves
	f := &Files{own: c.Certificates}
	for _, p := range o.SNI {
		if err := f.add("--tls-sni-cert-key", &pair{certFile: p.CertFile, keyFile: p.KeyFile, names: p.Names}); err != nil {
			return nil, err
		}
	}
	if o.CertDir != "" && o.CertFile == "" && o.KeyFile == "" {
		if o.CertFile, o.KeyFile, err = fromDirectory(o.CertDir, c.Certificates[0]); err != nil {
			return nil, err
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		if err := f.add("--tls-cert-file and --tls-private-key-file", &pair{certFile: o.CertFile, keyFile: o.KeyFile, general: true}); err != nil {
			return nil, err
		}
	}
	if len(f.pairs) > 0 {
		c.Certificates, c.GetCertificate = nil, f.get
	}
	return f, nil
}

// Files are the certificates of all files. Handshakes take no lock and read no disk.
type Files struct {
	own   []tls.Certificate
	pairs []*pair // in the order in which they count; the general one last
}

// A pair is a certificate and its key in files.
type pair struct {
	certFile, keyFile string
	names             []string // that it is shown for; none: those that it has
	general           bool     // it is shown to everybody else

	loading sync.Mutex // one reading at a time, so that an older one does not come last
	cert    atomic.Pointer[tls.Certificate]
}

func (f *Files) add(flag string, p *pair) error {
	if _, err := p.load(); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	f.pairs = append(f.pairs, p)
	return nil
}

// Run follows the files until ctx ends.
func (f *Files) Run(ctx context.Context) error {
	var following sync.WaitGroup
	for _, p := range f.pairs {
		for _, file := range []string{p.certFile, p.keyFile} {
			following.Go(func() { configfile.Follow(ctx, file, p.reload) })
		}
	}
	following.Wait()
	<-ctx.Done()
	return ctx.Err()
}

// reload reads the files again. A certificate without its key, such as one that is being replaced, is passed over.
func (p *pair) reload(context.Context) {
	switch changed, err := p.load(); {
	case err != nil:
		slog.Error("The serving certificate cannot be read again; the one from before is shown on", "file", p.certFile, "err", err)
	case changed:
		slog.Info("Another serving certificate is shown", "file", p.certFile, "until", p.cert.Load().Leaf.NotAfter)
	}
}

// load reads the files and says whether there is another certificate in them.
func (p *pair) load() (changed bool, err error) {
	p.loading.Lock()
	defer p.loading.Unlock()
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return false, err
	}
	if now := p.cert.Load(); now != nil && slices.EqualFunc(now.Certificate, cert.Certificate, bytes.Equal) {
		return false, nil
	}
	p.cert.Store(&cert)
	return true, nil
}

// get is for tls.Config.
func (f *Files) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return f.choose(asked(hello)), nil
}

// asked is the name that a client wants; one that connects to an address asks for that.
func asked(hello *tls.ClientHelloInfo) string {
	if hello.ServerName != "" || hello.Conn == nil {
		return strings.ToLower(strings.TrimRight(hello.ServerName, "."))
	}
	host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}

// choose prefers what an operator has named to what certificates say of themselves, and a name to a wildcard.
func (f *Files) choose(name string) *tls.Certificate {
	if name == LoopbackName && len(f.own) > 0 {
		return &f.own[0]
	}
	candidates := []string{name}
	if _, rest, ok := strings.Cut(name, "."); ok {
		candidates = append(candidates, "*."+rest)
	}
	var general *tls.Certificate
	for _, candidate := range candidates {
		var own *tls.Certificate
		for _, p := range f.pairs {
			switch {
			case p.general:
				general = p.cert.Load()
			case contains(p.names, candidate):
				return p.cert.Load()
			case own == nil && len(p.names) == 0 && contains(namesOf(p.cert.Load()), candidate):
				own = p.cert.Load()
			}
		}
		if own != nil {
			return own
		}
	}
	if general == nil && len(f.own) > 0 {
		return &f.own[0]
	}
	return general
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// namesOf are a certificate's DNS names and, if it could be one, its common name.
func namesOf(c *tls.Certificate) []string {
	names := c.Leaf.DNSNames
	if cn := c.Leaf.Subject.CommonName; len(validation.IsDNS1123Subdomain(strings.TrimPrefix(cn, "*."))) == 0 {
		return append([]string{cn}, names...)
	}
	return names
}
