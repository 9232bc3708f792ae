// Package pki makes and keeps the keys and certificates of a cluster: its certificate authority, the API
// server's serving certificate, the client certificates of administrators, nodes and the API server
// itself, and the key that signs service-account tokens. It also writes kubeconfig files.
//
// Everything lives as PEM files of mode 0600 in one directory. Loading is idempotent: what is there and
// still fits is used, what is missing, damaged, about to expire or made for other names is issued anew.
// Only three secrets cannot be made again without breaking the cluster (the two authorities and the
// token key); they are synced to disk before anything depends on them, key before certificate, so that a
// crash between the two is healed by signing the certificate again.
package pki

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// Options says for whom the certificates are made.
type Options struct {
	// Hosts are names and IP addresses under which clients reach the API server, beside the ones every
	// cluster has (kubernetes, kubernetes.default…, localhost, 127.0.0.1, ::1).
	Hosts []string
	// ClusterDomain is the DNS suffix of services. Default: cluster.local.
	ClusterDomain string
}

// A Cluster is the loaded key material of a control plane.
type Cluster struct {
	Dir string

	CA           *Authority // signs serving and client certificates
	FrontProxyCA *Authority // signs the identity with which requests are passed on to aggregated servers

	ServiceAccountKey crypto.Signer

	Serving          tls.Certificate // of the API server
	KubeletClient    tls.Certificate // of the API server towards kubelets: CN=kube-apiserver-kubelet-client
	FrontProxyClient tls.Certificate // of the API server towards aggregated servers: CN=front-proxy-client
	Admin            tls.Certificate // O=system:masters
}

// KubeletClientUser is the user name of the API server's own requests to kubelets.
const KubeletClientUser = "kube-apiserver-kubelet-client"

// FrontProxyUser is the common name that aggregated servers accept identity headers from.
const FrontProxyUser = "front-proxy-client"

// LoadOrCreate loads the cluster's keys from dir, making what is missing.
func LoadOrCreate(dir string, o Options) (*Cluster, error) {
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("pki: create directory %s: %w", dir, err)
	}
	c := &Cluster{Dir: dir}
	var g errgroup.Group
	g.Go(func() (err error) { c.CA, err = loadAuthority(dir, "ca", "clipper-ca"); return err })
	g.Go(func() (err error) {
		c.FrontProxyCA, err = loadAuthority(dir, "front-proxy-ca", "clipper-front-proxy-ca")
		return err
	})
	g.Go(func() (err error) {
		c.ServiceAccountKey, err = loadDurableKey(filepath.Join(dir, "sa.key"))
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return c, c.loadLeaves(o)
}

func (c *Cluster) loadLeaves(o Options) error {
	svc := "kubernetes.default.svc"
	hosts := append([]string{"kubernetes", "kubernetes.default", svc, svc + "." + o.ClusterDomain,
		"localhost", "127.0.0.1", "::1"}, o.Hosts...)
	var g errgroup.Group
	leaf := func(dst *tls.Certificate, a *Authority, base string, p Profile) {
		g.Go(func() (err error) { *dst, err = a.loadLeaf(c.Dir, base, p); return err })
	}
	leaf(&c.Serving, c.CA, "apiserver", ServerProfile("kube-apiserver", hosts))
	leaf(&c.KubeletClient, c.CA, "apiserver-kubelet-client", ClientProfile(KubeletClientUser))
	leaf(&c.FrontProxyClient, c.FrontProxyCA, "front-proxy-client", ClientProfile(FrontProxyUser))
	leaf(&c.Admin, c.CA, "admin", ClientProfile("kubernetes-admin", "system:masters"))
	return g.Wait()
}

// KubeletServing loads or issues the certificate that the kubelet of a node serves with.
func (c *Cluster) KubeletServing(dir, node string, hosts []string) (tls.Certificate, error) {
	p := ServerProfile("system:node:"+node, append([]string{node}, hosts...))
	p.Organization = []string{"system:nodes"}
	return c.CA.loadLeaf(dir, "kubelet-serving", p)
}

// loadLeaf returns the pair dir/base.{crt,key}, issuing it if what is there does not serve p any more.
func (a *Authority) loadLeaf(dir, base string, p Profile) (tls.Certificate, error) {
	crt, key := filepath.Join(dir, base+".crt"), filepath.Join(dir, base+".key")
	if pair, err := tls.LoadX509KeyPair(crt, key); err == nil && a.stillGood(pair.Leaf, p) {
		return pair, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return tls.Certificate{}, fmt.Errorf("pki: create directory %s: %w", dir, err)
	}
	pair, err := a.Issue(p)
	if err != nil {
		return tls.Certificate{}, err
	}
	certPEM, keyPEM, err := EncodePair(pair)
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := errors.Join(writeFile(key, keyPEM, false), writeFile(crt, certPEM, false)); err != nil {
		return tls.Certificate{}, err
	}
	return pair, nil
}

// ClientCAs returns a pool with the authority that client certificates are verified against.
func (c *Cluster) ClientCAs() *x509.CertPool { return c.CA.Pool() }
