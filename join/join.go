package join

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/pki"
)

const (
	clusterInfoPath = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
	maxClusterInfo  = 1 << 20
	callTimeout     = 30 * time.Second
	caFile          = "ca.crt"
)

// A Request says who wants to join what.
type Request struct {
	Server   string   // URL or host:port of the API server
	Token    string   // join token; may be empty once the node has joined
	NodeName string   // the node's name
	Hosts    []string // further names and addresses of the node's own server: its IPs
	Dir      string   // where keys and certificates are kept, mode 0600

	// Bootstrap is a kubeconfig that the node may use for its first certificate, as kubelets have it; it takes the
	// place of Server and Token.
	Bootstrap string
	// Serving says where the certificate comes from that the node itself serves with.
	Serving Serving
}

// Serving is a way to get a serving certificate.
type Serving int

// The ways: signed while the node joins, by a cluster that does so at once; asked for while the node works
// already, by a cluster where somebody has to approve it; or signed by the node itself.
const (
	ServingAtJoin Serving = iota
	ServingLater
	ServingSelf
)

// Join makes sure that dir holds the cluster's authority and valid certificates of the node. It uses the
// token only for what is missing, so that it can be called at every start, and after a crash goes on
// where it stopped.
func Join(ctx context.Context, r Request) (*Identity, error) {
	if r.NodeName == "" {
		return nil, errors.New("join: the node has no name")
	}
	var first *rest.Config
	if r.Bootstrap != "" {
		var err error
		if first, err = clientcmd.BuildConfigFromFlags("", r.Bootstrap); err != nil {
			return nil, fmt.Errorf("join: bootstrap kubeconfig: %w", err)
		}
		if err := rest.LoadTLSFiles(first); err != nil {
			return nil, fmt.Errorf("join: bootstrap kubeconfig %s: %w", r.Bootstrap, err)
		}
		r.Server = first.Host
	}
	server, err := normalize(r.Server)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("join: create directory %s: %w", r.Dir, err)
	}
	id := &Identity{request: r, server: server, first: first, metrics: newMetrics()}
	if first != nil {
		if id.ca = first.CAData; len(id.ca) == 0 {
			return nil, fmt.Errorf("join: bootstrap kubeconfig %s names no certificate authority", r.Bootstrap)
		}
	} else if id.ca, err = authority(ctx, server, r); err != nil {
		return nil, err
	}
	if err := id.ensureClient(ctx); err != nil {
		return nil, err
	}
	if r.Serving == ServingLater {
		id.useServing()
		return id, nil
	}
	if err := id.ensureServing(ctx); err != nil {
		return nil, err
	}
	return id, nil
}

func normalize(server string) (string, error) {
	if !strings.Contains(server, "://") {
		server = "https://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return "", fmt.Errorf("join: server %q is not an https URL; give https://HOST:PORT", server)
	}
	return "https://" + u.Host, nil
}

// authority returns the authority's certificate in PEM: the one kept from before, or the one that the
// server shows to everybody, provided that it is the one the token names.
func authority(ctx context.Context, server string, r Request) ([]byte, error) {
	path := filepath.Join(r.Dir, caFile)
	kept, err := os.ReadFile(path)
	switch {
	case err == nil && r.Token == "":
		return kept, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("join: read %s: %w", path, err)
	case r.Token == "":
		return nil, errors.New("join: this machine has not joined yet, a token is needed; make one with `clipper token create` on a server")
	}
	token, err := ParseToken(r.Token)
	if err != nil {
		return nil, err
	}
	if kept != nil {
		if cert, err := pki.ParseCert(kept); err == nil && pki.CertHash(cert) == token.CAHash {
			return kept, nil
		}
		return nil, fmt.Errorf("join: %s belongs to another cluster than the token; remove %s to leave that cluster", path, r.Dir)
	}
	ca, err := fetchAuthority(ctx, server, token)
	if err != nil {
		return nil, err
	}
	return ca, pki.WriteFile(path, ca)
}

// fetchAuthority asks a server that nobody vouches for yet. What it says is believed only if its hash is
// the token's and the server's own certificate comes from it.
func fetchAuthority(ctx context.Context, server string, token Token) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+clusterInfoPath, nil)
	if err != nil {
		return nil, fmt.Errorf("join: ask %s: %w", server, err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("join: reach the server: %w; check the address and that its port is open", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxClusterInfo))
	if err != nil {
		return nil, fmt.Errorf("join: read the answer of %s: %w", server, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("join: %s answers %s to a look at kube-public/cluster-info; is it a Clipper server?", server, resp.Status)
	}
	ca, err := parseClusterInfo(body)
	if err != nil {
		return nil, fmt.Errorf("join: cluster-info of %s: %w", server, err)
	}
	cert, err := pki.ParseCert(ca)
	if err != nil {
		return nil, fmt.Errorf("join: cluster-info of %s: %w", server, err)
	}
	if pki.CertHash(cert) != token.CAHash {
		return nil, fmt.Errorf("join: %s is not the cluster that made the token: its authority has the hash %s; check the address, and that nobody listens in between", server, pki.CertHash(cert))
	}
	if err := resp.TLS.PeerCertificates[0].CheckSignatureFrom(cert); err != nil {
		return nil, fmt.Errorf("join: the certificate of %s does not come from the cluster's authority: %w", server, err)
	}
	return ca, nil
}

// parseClusterInfo returns the authority in the kubeconfig of the config map cluster-info.
func parseClusterInfo(body []byte) ([]byte, error) {
	var cm corev1.ConfigMap
	if err := json.Unmarshal(body, &cm); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.Load([]byte(cm.Data["kubeconfig"]))
	if err != nil {
		return nil, err
	}
	for _, cluster := range cfg.Clusters {
		if len(cluster.CertificateAuthorityData) > 0 {
			return cluster.CertificateAuthorityData, nil
		}
	}
	return nil, errors.New("no certificate authority in it")
}

// bootstrapConfig acts with the token, or as the bootstrap kubeconfig says.
func (id *Identity) bootstrapConfig() (*rest.Config, error) {
	if id.first != nil {
		c := rest.CopyConfig(id.first)
		c.Timeout = callTimeout
		return c, nil
	}
	token, err := ParseToken(id.request.Token)
	if err != nil {
		return nil, err
	}
	return &rest.Config{Host: id.server, BearerToken: token.Bearer(), TLSClientConfig: rest.TLSClientConfig{CAData: id.ca}, Timeout: callTimeout}, nil
}
