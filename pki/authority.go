package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Backdate is how much earlier than now certificates begin, for nodes whose clock is behind.
const Backdate = 5 * time.Minute

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
)

// An Authority signs certificates.
type Authority struct {
	Cert    *x509.Certificate
	CertPEM []byte
	key     crypto.Signer
}

// A Profile is what a certificate says about its holder.
type Profile struct {
	CommonName   string
	Organization []string
	Hosts        []string // DNS names and IP addresses, mixed
	Usages       []x509.ExtKeyUsage
}

// ClientProfile describes a user with groups.
func ClientProfile(user string, groups ...string) Profile {
	return Profile{CommonName: user, Organization: groups, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
}

// NodeProfile describes the kubelet of a node as a client.
func NodeProfile(node string) Profile { return ClientProfile("system:node:"+node, "system:nodes") }

// ServerProfile describes a TLS server.
func ServerProfile(name string, hosts []string) Profile {
	return Profile{CommonName: name, Hosts: hosts, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

// Issue makes a key and a certificate for p.
func (a *Authority) Issue(p Profile) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("pki: generate key for %q: %w", p.CommonName, err)
	}
	dns, ips := splitHosts(p.Hosts)
	leaf, err := a.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: p.CommonName, Organization: p.Organization},
		DNSNames:    dns,
		IPAddresses: ips,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: p.Usages,
	}, key.Public(), leafLife)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// SignRequest signs what a certificate request asks for, with the given usages and lifetime. The caller
// has decided that the subject and names are allowed; the request's own signature is checked here.
func (a *Authority) SignRequest(req *x509.CertificateRequest, usage x509.KeyUsage, ext []x509.ExtKeyUsage, life time.Duration) (*x509.Certificate, error) {
	if err := req.CheckSignature(); err != nil {
		return nil, fmt.Errorf("pki: certificate request of %q is not signed by its own key: %w", req.Subject.CommonName, err)
	}
	return a.sign(&x509.Certificate{
		Subject:        req.Subject,
		DNSNames:       req.DNSNames,
		IPAddresses:    req.IPAddresses,
		EmailAddresses: req.EmailAddresses,
		URIs:           req.URIs,
		KeyUsage:       usage,
		ExtKeyUsage:    ext,
	}, req.PublicKey, life)
}

// sign completes tmpl and signs it. No certificate outlives the authority's own.
func (a *Authority) sign(tmpl *x509.Certificate, pub crypto.PublicKey, life time.Duration) (*x509.Certificate, error) {
	now := time.Now()
	tmpl.NotBefore = now.Add(-Backdate)
	tmpl.NotAfter = now.Add(life)
	if tmpl.NotAfter.After(a.Cert.NotAfter) {
		tmpl.NotAfter = a.Cert.NotAfter
	}
	tmpl.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.Cert, pub, a.key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign certificate for %q: %w", tmpl.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

// Pool returns a pool of this one authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// Hash is the hex SHA-256 of the authority's DER certificate: what join tokens pin.
func (a *Authority) Hash() string { return CertHash(a.Cert) }

// CertHash is the hex SHA-256 of a certificate's DER form.
func CertHash(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// stillGood reports whether leaf was signed by a, says what p wants, and has a third of its life left.
func (a *Authority) stillGood(leaf *x509.Certificate, p Profile) bool {
	if leaf == nil || leaf.CheckSignatureFrom(a.Cert) != nil {
		return false
	}
	left, whole := time.Until(leaf.NotAfter), leaf.NotAfter.Sub(leaf.NotBefore)
	if left < whole/3 || leaf.Subject.CommonName != p.CommonName || !sameSet(leaf.Subject.Organization, p.Organization) {
		return false
	}
	dns, ips := splitHosts(p.Hosts)
	return sameSet(leaf.DNSNames, dns) && sameSet(ipStrings(leaf.IPAddresses), ipStrings(ips))
}

// loadAuthority loads or makes dir/base.{key,crt}. A certificate without its key is refused rather than
// replaced: nodes and kubeconfigs out there trust it.
func loadAuthority(dir, base, name string) (*Authority, error) {
	crtPath, keyPath := filepath.Join(dir, base+".crt"), filepath.Join(dir, base+".key")
	certPEM, err := os.ReadFile(crtPath)
	switch {
	case err == nil:
		if _, err := os.Stat(keyPath); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("pki: %s exists but its key %s does not: restore the key, or remove both to start a new cluster", crtPath, keyPath)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("pki: read %s: %w", crtPath, err)
	}
	key, err := loadDurableKey(keyPath)
	if err != nil {
		return nil, err
	}
	if certPEM != nil {
		return parseAuthority(crtPath, certPEM, key)
	}
	a, err := selfSign(name, key)
	if err != nil {
		return nil, err
	}
	return a, writeFile(crtPath, a.CertPEM, true)
}

func parseAuthority(path string, certPEM []byte, key crypto.Signer) (*Authority, error) {
	cert, err := ParseCert(certPEM)
	if err != nil {
		return nil, fmt.Errorf("pki: read %s: %w; restore it from a backup", path, err)
	}
	if pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("pki: %s does not belong to the key beside it; restore both from one backup", path)
	}
	return &Authority{Cert: cert, CertPEM: certPEM, key: key}, nil
}

func selfSign(name string, key crypto.Signer) (*Authority, error) {
	now := time.Now()
	tmpl := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(authorityLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		DNSNames:              []string{name},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("pki: sign authority %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("pki: parse authority %s: %w", name, err)
	}
	return &Authority{Cert: cert, CertPEM: EncodeCert(cert), key: key}, nil
}

func splitHosts(hosts []string) (dns []string, ips []net.IP) {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			ips = append(ips, ip)
		} else if h != "" {
			dns = append(dns, h)
		}
	}
	return dns, ips
}

func ipStrings(ips []net.IP) []string {
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return out
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
