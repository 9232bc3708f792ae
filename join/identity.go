package join

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcertificatesv1 "k8s.io/client-go/kubernetes/typed/certificates/v1"
	"k8s.io/client-go/rest"

	"clipper/pki"
)

const (
	clientBase  = "kubelet-client"
	servingBase = "kubelet-serving"
	// signTimeout bounds the wait for a certificate; the server signs at once what it approves by itself.
	signTimeout = 2 * time.Minute
)

// An Identity is a node's certificates, kept in files and renewed.
type Identity struct {
	request Request
	server  string
	ca      []byte

	mu      sync.RWMutex
	client  tls.Certificate
	serving tls.Certificate
}

// CA returns the cluster's authority in PEM.
func (id *Identity) CA() []byte { return id.ca }

// Config acts as the node. It names the certificate's files, which client-go reads again when they change.
func (id *Identity) Config() *rest.Config {
	return &rest.Config{Host: id.server, TLSClientConfig: rest.TLSClientConfig{
		CAData: id.ca, CertFile: id.path(clientBase, "crt"), KeyFile: id.path(clientBase, "key")}}
}

// Serving returns the certificate with which the node serves; always the present one.
func (id *Identity) Serving() tls.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.serving
}

// GetCertificate is Serving in the form that tls.Config wants.
func (id *Identity) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c := id.Serving()
	return &c, nil
}

// Run renews the certificates while there is time, until ctx ends.
func (id *Identity) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(id.renewIn(time.Now())):
		}
		if err := errors.Join(id.ensureClient(ctx), id.ensureServing(ctx)); err != nil && ctx.Err() == nil {
			slog.Error("certificates not renewed; will be tried again", "node", id.request.NodeName, "err", err)
		}
	}
}

// renewIn is how long the next renewal can wait: until a third of a certificate's life is left, and at
// least a minute, which is also the pause after a failure.
func (id *Identity) renewIn(now time.Time) time.Duration {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return max(time.Minute, min(renewal(id.client.Leaf).Sub(now), renewal(id.serving.Leaf).Sub(now)))
}

func renewal(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
}

func (id *Identity) path(base, ext string) string {
	return filepath.Join(id.request.Dir, base+"."+ext)
}

func (id *Identity) ensureClient(ctx context.Context) error {
	want := pki.NodeProfile(id.request.NodeName)
	have, state := id.load(clientBase, want)
	if state != fresh {
		cfg := id.Config() // a certificate that still counts renews itself
		if state == useless {
			var err error
			if cfg, err = id.bootstrapConfig(); err != nil {
				return err
			}
		}
		var err error
		have, err = id.obtain(ctx, cfg, clientBase, want, certificatesv1.KubeAPIServerClientKubeletSignerName, certificatesv1.UsageClientAuth)
		if err != nil {
			return err
		}
	}
	id.mu.Lock()
	defer id.mu.Unlock()
	id.client = have
	return nil
}

func (id *Identity) ensureServing(ctx context.Context) error {
	want := pki.ServerProfile("system:node:"+id.request.NodeName, append([]string{id.request.NodeName}, id.request.Hosts...))
	want.Organization = []string{"system:nodes"}
	have, state := id.load(servingBase, want)
	if state != fresh {
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

// The states of a certificate on disk.
type freshness int

const (
	useless freshness = iota // absent, damaged, expired, or for somebody else
	old                      // still good, and due to be renewed
	fresh
)

func (id *Identity) load(base string, want pki.Profile) (tls.Certificate, freshness) {
	pair, err := tls.LoadX509KeyPair(id.path(base, "crt"), id.path(base, "key"))
	if err != nil {
		// Stopped between the two writes of install: the key that fits is the one that waits.
		if pair, err = id.finish(base); err != nil {
			return pair, useless
		}
	}
	ca, err := pki.ParseCert(id.ca)
	if err != nil {
		return pair, useless
	}
	now, leaf := time.Now(), pair.Leaf
	if leaf.CheckSignatureFrom(ca) != nil || now.After(leaf.NotAfter) || !matches(leaf, want) {
		return pair, useless
	}
	if now.After(renewal(leaf)) {
		return pair, old
	}
	return pair, fresh
}

func matches(leaf *x509.Certificate, want pki.Profile) bool {
	if leaf.Subject.CommonName != want.CommonName || !slices.Equal(leaf.Subject.Organization, want.Organization) {
		return false
	}
	for _, h := range want.Hosts {
		if leaf.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

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
	if err != nil {
		return tls.Certificate{}, err
	}
	return id.install(base, key, certPEM)
}

// install puts the pair in place, certificate first. Whoever is stopped in between finishes when it loads.
func (id *Identity) install(base string, key *ecdsa.PrivateKey, certPEM []byte) (tls.Certificate, error) {
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("join: the signed certificate does not fit its key: %w", err)
	}
	if err := pki.WriteFile(id.path(base, "crt"), certPEM); err != nil {
		return tls.Certificate{}, err
	}
	if err := os.Rename(id.path(base, "key.new"), id.path(base, "key")); err != nil {
		return tls.Certificate{}, fmt.Errorf("join: put the new key in place: %w", err)
	}
	return pair, nil
}

// finish completes an install that was stopped half-way.
func (id *Identity) finish(base string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(id.path(base, "crt"), id.path(base, "key.new"))
	if err != nil {
		return pair, err
	}
	return pair, os.Rename(id.path(base, "key.new"), id.path(base, "key"))
}

// pendingKey returns the key of a request that may be under way already, or a new one.
func (id *Identity) pendingKey(base string) (*ecdsa.PrivateKey, error) {
	path := id.path(base, "key.new")
	if data, err := os.ReadFile(path); err == nil {
		if block, _ := pem.Decode(data); block != nil {
			if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
				return key, nil
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("join: generate key: %w", err)
	}
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, pki.WriteFile(path, keyPEM)
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
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
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

// signed says whether a request has its certificate; the error says that it never will.
func signed(csr *certificatesv1.CertificateSigningRequest) (bool, error) {
	for _, c := range csr.Status.Conditions {
		if c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed {
			return false, fmt.Errorf("join: certificate request %s is %s: %s", csr.Name, c.Type, c.Message)
		}
	}
	return len(csr.Status.Certificate) > 0, nil
}
