package join

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	certificatesv1 "k8s.io/api/certificates/v1"
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
	first   *rest.Config // of the bootstrap kubeconfig; nil: there is a token
	metrics metrics

	mu      sync.RWMutex
	client  tls.Certificate
	serving tls.Certificate // without a leaf: not signed yet
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
	if c.Leaf == nil {
		return nil, errors.New("no serving certificate available for the kubelet")
	}
	return &c, nil
}

// Run renews the certificates while there is time, until ctx ends.
func (id *Identity) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return id.keep(ctx, clientBase, id.clientLeaf, id.ensureClient) })
	group.Go(func() error { return id.keep(ctx, servingBase, id.servingLeaf, id.ensureServing) })
	return group.Wait()
}

// How long a renewal that failed waits for the next attempt. Upstream's figures.
const (
	firstRetry = 2 * time.Second
	lastRetry  = 64 * time.Second
)

// keep renews one certificate at its time.
func (id *Identity) keep(ctx context.Context, base string, leaf func() *x509.Certificate, ensure func(context.Context) error) error {
	retry := firstRetry
	for pause := id.untilRenewal(leaf()); ; {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		before, err := leaf(), ensure(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			id.metrics.failed(base)
			slog.Error("A certificate is not renewed; it will be tried again", "node", id.request.NodeName, "certificate", base, "pause", retry, "err", err)
			pause, retry = retry, min(2*retry, lastRetry)
		default:
			id.metrics.renewed(base, before, time.Now())
			// Signers date certificates back: one of a short life is due at once, and must not be renewed all the time.
			pause, retry = max(id.untilRenewal(leaf()), time.Until(leaf().NotAfter)/2), firstRetry
		}
	}
}

func (id *Identity) clientLeaf() *x509.Certificate {
	id.mu.RLock()
	defer id.mu.RUnlock()
	return id.client.Leaf
}

func (id *Identity) servingLeaf() *x509.Certificate { return id.Serving().Leaf }

// untilRenewal is how long a certificate may stay as it is. One that is missing is asked for at once.
func (id *Identity) untilRenewal(c *x509.Certificate) time.Duration {
	if c == nil {
		return 0
	}
	return max(time.Second, time.Until(renewal(c)))
}

// renewal is when a certificate is to be replaced: when 70 to 90 percent of its life have passed, at another moment
// for each certificate, so that nodes which joined together do not come back together. The moment follows from the
// certificate, and so survives restarts.
func renewal(c *x509.Certificate) time.Time {
	sum := sha256.Sum256(c.Raw)
	jitter := float64(binary.BigEndian.Uint32(sum[:4])) / math.MaxUint32
	life := c.NotAfter.Sub(c.NotBefore)
	return c.NotBefore.Add(time.Duration((0.7 + 0.2*jitter) * float64(life)))
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
	now, leaf := time.Now(), pair.Leaf
	if !id.trusts(base, leaf) || now.After(leaf.NotAfter) || !matches(leaf, want) {
		return pair, useless
	}
	if now.After(renewal(leaf)) {
		return pair, old
	}
	return pair, fresh
}

// trusts reports whether a certificate comes from whom it should.
func (id *Identity) trusts(base string, leaf *x509.Certificate) bool {
	if base == servingBase && id.request.Serving == ServingSelf {
		return leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil
	}
	ca, err := pki.ParseCert(id.ca)
	return err == nil && leaf.CheckSignatureFrom(ca) == nil
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
