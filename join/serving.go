package join

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"

	"clipper/pki"
)

func (id *Identity) servingProfile() pki.Profile {
	want := pki.ServerProfile("system:node:"+id.request.NodeName, append([]string{id.request.NodeName}, id.request.Hosts...))
	want.Organization = []string{"system:nodes"}
	return want
}

// useServing takes the serving certificate of an earlier start, if that is any good.
func (id *Identity) useServing() {
	have, state := id.load(servingBase, id.servingProfile())
	if state == useless {
		return
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.serving = have
}

func (id *Identity) ensureServing(ctx context.Context) error {
	want := id.servingProfile()
	have, state := id.load(servingBase, want)
	if state != fresh && id.request.Serving == ServingSelf {
		var err error
		if have, err = id.signItself(want); err != nil {
			return err
		}
	} else if state != fresh {
		var err error
		have, err = id.obtain(ctx, id.Config(), servingBase, want, certificatesv1.KubeletServingSignerName, certificatesv1.UsageServerAuth)
		if err != nil {
			return err
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.serving = have
	return nil
}

// selfSignedLife is how long the node's own signature is good for. Upstream's figure.
const selfSignedLife = 365 * 24 * time.Hour

// signItself makes a certificate that nobody else vouches for.
func (id *Identity) signItself(want pki.Profile) (tls.Certificate, error) {
	key, err := id.pendingKey(servingBase)
	if err != nil {
		return tls.Certificate{}, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("join: choose a serial number: %w", err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: want.CommonName, Organization: want.Organization},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife), // clocks differ
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	tmpl.IPAddresses, tmpl.DNSNames = split(want.Hosts)
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("join: sign the node's own certificate: %w", err)
	}
	return id.install(servingBase, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// split tells addresses and names apart.
func split(hosts []string) (ips []net.IP, names []string) {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, h)
		}
	}
	return ips, names
}
