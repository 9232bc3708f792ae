package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcertificatesv1 "k8s.io/client-go/kubernetes/typed/certificates/v1"
	"k8s.io/client-go/rest"

	"clipper/pki"
)

// obtain gets a certificate signed. The new key is on disk before anything is asked for, and the
// request's name comes from the key: whoever is interrupted finds the same request again.
func (id *Identity) obtain(ctx context.Context, cfg *rest.Config, base string, want pki.Profile, signer string, usage certificatesv1.KeyUsage) (tls.Certificate, error) {
	key, err := id.pendingKey(base)
	if err != nil {
		return tls.Certificate{}, err
	}
	body, name, err := request(key, want, signer)
	if err != nil {
		return tls.Certificate{}, err
	}
	client, err := typedcertificatesv1.NewForConfig(cfg)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("join: client of %s: %w", id.server, err)
	}
	csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1.CertificateSigningRequestSpec{Request: body, SignerName: signer,
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, usage}}}
	csrs := client.CertificateSigningRequests()
	if _, err := csrs.Create(ctx, csr, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		if apierrors.IsUnauthorized(err) {
			err = fmt.Errorf("%w; the token may have expired: make another with `clipper token create` on a server", err)
		}
		return tls.Certificate{}, fmt.Errorf("join: ask for the certificate of %s: %w", want.CommonName, err)
	}
	certPEM, err := await(ctx, csrs, name)
	if errors.Is(err, errRefused) {
		// Another attempt needs another request, and so another key.
		return tls.Certificate{}, errors.Join(err, os.Remove(id.path(base, "key.new")))
	}
	if err != nil {
		return tls.Certificate{}, err
	}
	return id.install(base, key, certPEM)
}

// request makes the PEM form of a request and the name of its object.
func request(key *ecdsa.PrivateKey, want pki.Profile, signer string) (body []byte, name string, err error) {
	tmpl := &x509.CertificateRequest{Subject: pkix.Name{CommonName: want.CommonName, Organization: want.Organization}}
	hash := sha256.New()
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, "", fmt.Errorf("join: encode public key: %w", err)
	}
	hash.Write(pub)
	hash.Write([]byte(signer + want.CommonName))
	for _, h := range want.Hosts {
		hash.Write([]byte("/" + h))
	}
	tmpl.IPAddresses, tmpl.DNSNames = split(want.Hosts)
	der, err := x509.CreateCertificateRequest(rand.Reader, tmpl, key)
	if err != nil {
		return nil, "", fmt.Errorf("join: make certificate request: %w", err)
	}
	name = "node-csr-" + lowerHash(hash.Sum(nil))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), name, nil
}

// lowerHash is a hash in letters that names of objects may have.
func lowerHash(sum []byte) string {
	const letters = "abcdefghijklmnopqrstuvwxyz012345"
	return base32.NewEncoding(letters).WithPadding(base32.NoPadding).EncodeToString(sum[:20])
}

// The pauses between looks at a request.
const (
	firstLook = 10 * time.Millisecond
	slowLook  = time.Second
)

// await waits for the certificate of a request.
func await(ctx context.Context, csrs typedcertificatesv1.CertificateSigningRequestInterface, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	var last error
	for pause := firstLook; ; pause = min(2*pause, slowLook) {
		csr, err := csrs.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			last = err
		} else if done, err := signed(csr); done || err != nil {
			return csr.Status.Certificate, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, fmt.Errorf("join: certificate request %s was not signed in time; look at it with `kubectl get csr` on a server: %w", name, errors.Join(ctx.Err(), last))
		}
	}
}

// errRefused: the request will never be signed.
var errRefused = errors.New("refused")

// signed says whether a request has its certificate; the error says that it never will.
func signed(csr *certificatesv1.CertificateSigningRequest) (bool, error) {
	for _, c := range csr.Status.Conditions {
		if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
			return false, fmt.Errorf("join: certificate request %s is %s: %s (%w)", csr.Name, c.Type, c.Message, errRefused)
		}
	}
	return len(csr.Status.Certificate) > 0, nil
}
