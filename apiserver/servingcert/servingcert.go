// Package servingcert shows clients the certificates that an operator has put into files, each to those who ask for
// one of its names, and reads them again when they change.
package servingcert

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/component-base/cli/flag"
)

// Options are kube-apiserver's flags of the same names. The zero value changes nothing.
type Options struct {
	CertFile, KeyFile string // what is shown to those who ask for no other
	SNI               []flag.NamedCertKey
	MinVersion        string // VersionTLS12, ...; "" for 1.2
	CipherSuites      []string
}

// lookEvery is how often, at most, the files are looked at: when a client connects.
const lookEvery = 10 * time.Second

// Apply puts the certificates and limits into c, whose own certificate is shown where no file has one. The files
// must be readable now.
func Apply(c *tls.Config, o Options) error {
	version, err := flag.TLSVersion(o.MinVersion)
	if err != nil {
		return fmt.Errorf("--tls-min-version: %w", err)
	}
	suites, err := flag.TLSCipherSuites(o.CipherSuites)
	if err != nil {
		return fmt.Errorf("--tls-cipher-suites: %w", err)
	}
	c.MinVersion, c.CipherSuites = version, suites
	if o.CertFile == "" && o.KeyFile == "" && len(o.SNI) == 0 {
		return nil
	}
	k := &keeper{own: c.Certificates, now: time.Now}
	for _, p := range o.SNI {
		if err := k.add("--tls-sni-cert-key", p.CertFile, p.KeyFile, p.Names, false); err != nil {
			return err
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		if err := k.add("--tls-cert-file and --tls-private-key-file", o.CertFile, o.KeyFile, nil, true); err != nil {
			return err
		}
	}
	k.looked = k.now()
	c.Certificates, c.GetCertificate = nil, k.get
	return nil
}

// A keeper has the certificates of all files.
type keeper struct {
	own []tls.Certificate
	now func() time.Time

	mu     sync.Mutex
	looked time.Time
	files  []*pair // in the order in which they count; the general one last
}

// A pair is a certificate and its key in files.
type pair struct {
	certFile, keyFile string
	names             []string // that it is shown for; none: those that it has
	general           bool     // it is shown to everybody else
	cert              *tls.Certificate
	state             [2]state
}

// A state tells whether a file has been written to.
type state struct {
	modified time.Time
	size     int64
}

func (k *keeper) add(flag, certFile, keyFile string, names []string, general bool) error {
	p := &pair{certFile: certFile, keyFile: keyFile, names: names, general: general}
	if err := p.load(); err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	k.files = append(k.files, p)
	return nil
}

// load reads the files if they have changed.
func (p *pair) load() error {
	now := [2]state{stateOf(p.certFile), stateOf(p.keyFile)}
	if p.cert != nil && now == p.state {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return err
	}
	p.cert, p.state = &cert, now
	return nil
}

func stateOf(path string) state {
	info, err := os.Stat(path)
	if err != nil {
		return state{} // reading it will tell why
	}
	return state{info.ModTime(), info.Size()}
}

// get is for tls.Config.
func (k *keeper) get(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.now(); now.Sub(k.looked) >= lookEvery {
		k.looked = now
		for _, p := range k.files {
			if err := p.load(); err != nil {
				slog.Error("The serving certificate cannot be read again; the one from before is shown on", "file", p.certFile, "err", err)
			}
		}
	}
	return k.choose(asked(hello)), nil
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
func (k *keeper) choose(name string) *tls.Certificate {
	candidates := []string{name}
	if _, rest, ok := strings.Cut(name, "."); ok {
		candidates = append(candidates, "*."+rest)
	}
	var general *tls.Certificate
	for _, candidate := range candidates {
		var own *tls.Certificate
		for _, p := range k.files {
			switch {
			case p.general:
				general = p.cert
			case contains(p.names, candidate):
				return p.cert
			case own == nil && len(p.names) == 0 && contains(namesOf(p.cert), candidate):
				own = p.cert
			}
		}
		if own != nil {
			return own
		}
	}
	if general == nil && len(k.own) > 0 {
		return &k.own[0]
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
