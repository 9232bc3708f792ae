package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"clipper/apiserver/clientcert"
	"clipper/apiserver/egress"
	"clipper/pki"
)

// CalloutOptions say how the API server calls others. The names are those of kube-apiserver's flags.
type CalloutOptions struct {
	// Kubelet and Proxy are shown to nodes' agents and to extension API servers; none: the cluster's own.
	Kubelet, Proxy CertificateFiles
	KubeletCAFile  string        // authorities of nodes' certificates, beside the cluster's own
	KubeletTimeout time.Duration // for connecting to a node's agent
	EgressFile     string        // an EgressSelectorConfiguration; "": others are reached directly
}

// CertificateFiles are a certificate and its key.
type CertificateFiles struct{ Cert, Key string }

// defaultKubeletTimeout is upstream's.
const defaultKubeletTimeout = 5 * time.Second

func defaultCallouts() CalloutOptions { return CalloutOptions{KubeletTimeout: defaultKubeletTimeout} }

func (o *CalloutOptions) complete() error {
	var faults []error
	if (o.Kubelet.Cert == "") != (o.Kubelet.Key == "") {
		faults = append(faults, errors.New("--kubelet-client-certificate and --kubelet-client-key belong together"))
	}
	if (o.Proxy.Cert == "") != (o.Proxy.Key == "") {
		faults = append(faults, errors.New("--proxy-client-cert-file and --proxy-client-key-file belong together"))
	}
	if o.KubeletTimeout <= 0 {
		faults = append(faults, fmt.Errorf("--kubelet-timeout %v: must be more than 0", o.KubeletTimeout))
	}
	return errors.Join(faults...)
}

// callouts are how the server calls others.
type callouts struct {
	nodes          *tls.Config         // towards nodes' agents
	proxy          clientcert.Identity // towards extension API servers
	ways           egress.Dialers
	toNodes        egress.Dial // nil is an ordinary dial
	toExtensions   egress.Dial // likewise
	kubelet, front *clientcert.Source
}

// Run ends connections when the certificate that was shown on them changes.
func (c *callouts) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.kubelet.Run(ctx) })
	group.Go(func() error { return c.front.Run(ctx) })
	return group.Wait()
}

// open reads the files. own is what the cluster has itself.
func (o *CalloutOptions) open(own *pki.Cluster) (c callouts, err error) {
	if c.ways, err = egress.Load(o.EgressFile); err != nil {
		return c, fmt.Errorf("--egress-selector-config-file: %w", err)
	}
	if c.kubelet, err = o.Kubelet.source(own.KubeletClient); err != nil {
		return c, fmt.Errorf("--kubelet-client-certificate, --kubelet-client-key: %w", err)
	}
	authorities, err := withFile(own.CA.CertPEM, "--kubelet-certificate-authority", o.KubeletCAFile)
	if err != nil {
		return c, err
	}
	c.nodes = &tls.Config{GetClientCertificate: c.kubelet.Identity, RootCAs: pool(authorities), MinVersion: tls.VersionTLS12}
	if c.front, err = o.Proxy.source(own.FrontProxyClient); err != nil {
		return c, fmt.Errorf("--proxy-client-cert-file, --proxy-client-key-file: %w", err)
	}
	c.proxy, c.toNodes, c.toExtensions = c.front.Identity, c.kubelet.Dial(c.ways.Cluster), c.front.Dial(c.ways.Cluster)
	return c, nil
}

func (f CertificateFiles) source(own tls.Certificate) (*clientcert.Source, error) {
	if f.Cert == "" {
		return clientcert.Fixed(own), nil
	}
	return clientcert.Files(f.Cert, f.Key)
}
