package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/asn1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/features"

	"clipper/apiserver/feature"
)

// verifiedSize bounds the certificates whose verification is remembered.
const verifiedSize = 4096

// certificates turns verified client certificates into users: the common name is the user, the
// organizations are the groups.
type certificates struct {
	roots *x509.CertPool
	now   func() time.Time

	mu sync.RWMutex
	// verified is keyed by the leaf's DER bytes. A chain is verified once, its times on every request.
	verified map[string]verifiedCert
}

type verifiedCert struct {
	info                user.Info
	notBefore, notAfter time.Time // of the whole chain
}

// user verifies a chain as the peer sent it, leaf first. The user is nil if the certificate names none.
func (c *certificates) user(chain []*x509.Certificate) (user.Info, error) {
	leaf, now := chain[0], c.now()
	c.mu.RLock()
	v, ok := c.verified[string(leaf.Raw)]
	c.mu.RUnlock()
	if ok && !now.Before(v.notBefore) && !now.After(v.notAfter) {
		return v.info, nil
	}
	v, err := c.verify(chain, now)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verified == nil || len(c.verified) >= verifiedSize {
		c.verified = make(map[string]verifiedCert)
	}
	c.verified[string(leaf.Raw)] = v
	return v.info, nil
}

func (c *certificates) verify(chain []*x509.Certificate, now time.Time) (verifiedCert, error) {
	leaf := chain[0]
	opts := x509.VerifyOptions{Roots: c.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if len(chain) > 1 {
		opts.Intermediates = x509.NewCertPool()
		for _, cert := range chain[1:] {
			opts.Intermediates.AddCert(cert)
		}
	}
	chains, err := leaf.Verify(opts)
	if err != nil {
		return verifiedCert{}, fmt.Errorf("verifying certificate %s failed: %w", identify(leaf), err)
	}
	v := verifiedCert{notBefore: leaf.NotBefore, notAfter: leaf.NotAfter}
	if v.info, err = certUser(leaf); err != nil {
		return verifiedCert{}, err
	}
	for _, cert := range chains[0] {
		if cert.NotBefore.After(v.notBefore) {
			v.notBefore = cert.NotBefore
		}
		if cert.NotAfter.Before(v.notAfter) {
			v.notAfter = cert.NotAfter
		}
	}
	return v, nil
}

// certUser returns whom a certificate names: nobody, without an error, if it has no common name.
func certUser(leaf *x509.Certificate) (user.Info, error) {
	if leaf.Subject.CommonName == "" {
		return nil, nil
	}
	uid, err := certUID(leaf)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(leaf.Raw)
	return withGroup(&user.DefaultInfo{
		Name:   leaf.Subject.CommonName,
		UID:    uid,
		Groups: leaf.Subject.Organization,
		Extra:  map[string][]string{user.CredentialIDKey: {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}, user.AllAuthenticated), nil
}

// certUID returns the user's UID, which has an attribute of its own in the subject; "" for none.
func certUID(leaf *x509.Certificate) (uid string, err error) {
	if !feature.Enabled(features.AllowParsingUserUIDFromCertAuth) {
		return "", nil
	}
	found := false
	for _, name := range leaf.Subject.Names {
		if !name.Type.Equal(uidAttribute) {
			continue
		}
		s, ok := name.Value.(string)
		switch {
		case !ok:
			return "", errors.New("unable to parse UID into a string")
		case s == "":
			return "", errors.New("UID cannot be an empty string")
		case found:
			return "", fmt.Errorf("expected 1 UID, but found multiple: %v", []string{uid, s})
		}
		uid, found = s, true
	}
	return uid, nil
}

var uidAttribute = asn1.X509UID()

func identify(c *x509.Certificate) string {
	return fmt.Sprintf("SN=%d, SKID=%X, AKID=%X", c.SerialNumber, c.SubjectKeyId, c.AuthorityKeyId)
}
