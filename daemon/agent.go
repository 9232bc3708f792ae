package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/api"
	"clipper/api/remote"
	"clipper/apiserver/bootstrap"
	"clipper/join"
	"clipper/node/kubeletconfig"
	"clipper/pki"
)

// RunAgent runs a node of the options' server until ctx ends. Containers keep running then.
func RunAgent(ctx context.Context, o AgentOptions) error {
	tuneMemory(ctx)
	if err := o.complete(); err != nil {
		return err
	}
	if err := preflight(); err != nil {
		return err
	}
	config, err := o.Node.kubeletConfig()
	if err != nil {
		return err
	}
	identity, err := join.Join(ctx, join.Request{
		Server: o.Server, Token: o.Token, Bootstrap: o.BootstrapKubeconfig, NodeName: o.Node.Name, Hosts: []string{o.Node.IP},
		Dir: filepath.Join(o.Node.DataDir, "pki"), Serving: o.serving(config),
	})
	if err != nil {
		return err
	}
	client, err := remote.New(identity.Config(), o.Node.Name)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return identity.Run(ctx) })
	group.Go(func() error { return client.Run(ctx) })
	group.Go(func() error { return releaseStartup(ctx) })
	group.Go(func() error { return runRemoteNode(ctx, o, config, identity, client) })
	err = group.Wait()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // asked to stop
	}
	return err
}

// serving says where the node's serving certificate comes from. A server of Clipper's signs it while the node joins;
// of another cluster, which a bootstrap kubeconfig may be of, that cannot be expected.
func (o *AgentOptions) serving(config *kubeletconfig.Configuration) join.Serving {
	switch {
	case config.ServerTLSBootstrap:
		return join.ServingLater
	case o.BootstrapKubeconfig != "":
		return join.ServingSelf
	}
	return join.ServingAtJoin
}

func runRemoteNode(ctx context.Context, o AgentOptions, config *kubeletconfig.Configuration, identity *join.Identity, client api.Client) error {
	services, err := serviceRange(ctx, client)
	if err != nil {
		return err
	}
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(identity.CA())
	m := machine{
		options:     o.Node,
		client:      client,
		serviceCIDR: services,
		serving:     identity.GetCertificate,
		clientCAs:   cas,
		config:      config,
		collectors:  identity.Collectors(),
	}
	return m.run(ctx)
}

// serviceRange asks the cluster for its service addresses.
func serviceRange(ctx context.Context, client api.Client) (netip.Prefix, error) {
	object, err := api.ServiceCIDRs.List(ctx, client, "", metav1.ListOptions{})
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("ask the server for the service range: %w", err)
	}
	for _, o := range object {
		if o.Name == bootstrap.ServiceRange && len(o.Spec.CIDRs) > 0 {
			ranges, err := serviceRanges(strings.Join(o.Spec.CIDRs, ","))
			if err != nil {
				return netip.Prefix{}, fmt.Errorf("ServiceCIDR %s: %w", o.Name, err)
			}
			if p := nodeRange(ranges); p.Addr().Is4() {
				return p, nil
			}
			return netip.Prefix{}, fmt.Errorf("ServiceCIDR %s has no IPv4 network, which nodes need; give servers one with --service-cidr", o.Name)
		}
	}
	return netip.Prefix{}, fmt.Errorf("the server has no ServiceCIDR %q; start a server of this version once", bootstrap.ServiceRange)
}

// tokenLife is how long a join token is good for. Upstream's figure.
const tokenLife = 24 * time.Hour

// CreateToken makes a join token, for nodes or for servers, of the server whose data directory is given, which must
// be running.
func CreateToken(ctx context.Context, dataDir string, server bool) (string, error) {
	path := filepath.Join(dataDir, KubeconfigName)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		return "", fmt.Errorf("read the administrator's kubeconfig: %w; run this on a server, as root, with its --data-dir", err)
	}
	ca, err := pki.ParseCert(config.CAData)
	if err != nil {
		return "", fmt.Errorf("read the authority in %s: %w", path, err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return "", err
	}
	const description = "made by clipper token create"
	var token join.Token
	if server {
		token, err = join.CreateServerToken(ctx, clients, filepath.Join(dataDir, "pki"), pki.CertHash(ca), tokenLife, description)
	} else {
		token, err = join.CreateToken(ctx, clients.CoreV1().Secrets("kube-system"), pki.CertHash(ca), tokenLife, description)
	}
	if err != nil {
		return "", err
	}
	return token.String(), nil
}
