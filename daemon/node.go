package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/dns"
	"clipper/node"
	"clipper/node/kubeletconfig"
	"clipper/node/kubeletdir"
	"clipper/node/network"
	"clipper/node/network/routed"
	"clipper/service"
)

// proxyHealthPort is where load balancers ask whether a node is healthy. Upstream kube-proxy's.
const proxyHealthPort = 10256

// A machine is a node's parts on this machine. client is in-process on a server, remote elsewhere; nothing
// below can tell.
type machine struct {
	options     NodeOptions
	client      api.Client
	serviceCIDR netip.Prefix
	serving     func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	clientCAs   *x509.CertPool
	config      *kubeletconfig.Configuration
	collectors  []prometheus.Collector // of what the node's parts above the agent count

	group   *errgroup.Group // of all that the node runs
	network atomic.Pointer[routed.Network]

	containers *containers
}

// listen takes the port on which the node serves what the API server asks of it: at the node's address, unless the
// settings name another. Where they want no server, nothing listens.
func listen(config *kubeletconfig.Configuration, ip netip.Addr) (net.Listener, error) {
	if !*config.EnableServer {
		return nil, nil
	}
	host := ip.String()
	if config.Address != "" {
		host = config.Address
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(int(config.Port))))
	if err != nil {
		return nil, fmt.Errorf("listen for the API server on %s, port %d: %w; stop what uses the port, a kubelet perhaps", host, config.Port, err)
	}
	return l, nil
}

// run is a node from start to end. Containers stay when it ends.
func (m *machine) run(ctx context.Context) error {
	config := m.config
	group, ctx := errgroup.WithContext(ctx)
	m.group = group
	containers, err := m.openRuntime(ctx, config)
	if err != nil {
		return err
	}
	m.containers = containers
	defer containers.close()
	ip, err := netip.ParseAddr(m.options.IP)
	if err != nil {
		return fmt.Errorf("--node-ip %q: %w", m.options.IP, err)
	}
	listener, err := listen(config, ip)
	if err != nil {
		return err
	}
	agent, err := node.New(node.Options{
		Config:      config,
		Client:      m.client,
		Runtime:     containers.runtime,
		Images:      containers.images,
		RuntimeName: containers.name, RuntimeVersion: containers.version,
		OpenNetwork:   m.openNetwork(ip),
		NodeName:      m.options.Name,
		NodeIPs:       []netip.Addr{ip},
		Labels:        m.options.Labels,
		DataDir:       m.options.DataDir,
		LogDir:        m.options.LogDir,
		RootDir:       kubeletdir.Dir(filepath.Clean(m.options.RootDir)),
		CgroupRoot:    m.options.CgroupRoot + "/pods",
		ManifestDir:   filepath.Join(m.options.DataDir, "manifests"),
		ClusterDNS:    []netip.Addr{dns.ServiceIP(m.serviceCIDR)},
		ClusterDomain: m.options.Domain,
		Listener:      listener,
		ServingCert:   m.serving,
		ClientCAs:     m.clientCAs,
		Collectors:    m.collectors,

		ImageCredentialProviderConfig: m.options.ImageCredentialProviderConfig,
		ImageCredentialProviderBinDir: m.options.ImageCredentialProviderBinDir,
	})
	if err != nil {
		if listener != nil {
			err = errors.Join(err, listener.Close())
		}
		return err
	}
	group.Go(func() error { return containers.run(ctx) })
	group.Go(func() error { return agent.Run(ctx) })
	return group.Wait()
}

// openNetwork returns what the agent calls once the node is registered: it waits for the node's share of
// the pod addresses, then starts network, services and names, and returns when all three work.
func (m *machine) openNetwork(ip netip.Addr) func(context.Context, *corev1.Node) (network.Network, error) {
	return func(ctx context.Context, n *corev1.Node) (network.Network, error) {
		podCIDR, err := m.podCIDR(ctx, n)
		if err != nil {
			return nil, err
		}
		net, err := routed.Open(routed.Config{
			StateDir: filepath.Join(m.options.DataDir, "network"),
			NodeName: m.options.Name, NodeIP: ip, PodCIDR: podCIDR, ServiceCIDR: m.serviceCIDR,
			Log: slog.Default(),
		})
		if err != nil {
			return nil, err
		}
		proxy := service.NewProxy(m.client, service.Config{
			NodeName: m.options.Name, PodCIDR: podCIDR, ServiceCIDR: m.serviceCIDR, HealthPort: proxyHealthPort, Log: slog.Default(),
		})
		names := dns.NewServer(m.client, dns.Config{
			Listen: netip.AddrPortFrom(network.Gateway(podCIDR), 53), Domain: m.options.Domain, Log: slog.Default(),
		})
		m.group.Go(func() error {
			defer net.Close()
			return net.Run(ctx, m.client)
		})
		m.group.Go(func() error { return proxy.Run(ctx) })
		m.group.Go(func() error { return names.Run(ctx) })
		for _, ready := range []<-chan struct{}{proxy.Ready(), names.Ready()} {
			select {
			case <-ready:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		m.network.Store(net)
		return m.containers.network(ctx, m, net)
	}
}

// podCIDR waits until the node has its share of the pod addresses.
func (m *machine) podCIDR(ctx context.Context, n *corev1.Node) (netip.Prefix, error) {
	if n.Spec.PodCIDR != "" {
		return netip.ParsePrefix(n.Spec.PodCIDR)
	}
	ctx, found := context.WithCancelCause(ctx)
	defer found(nil)
	var cidr string
	err := m.client.View(api.Nodes.Resource).Watch(ctx, func(e api.Event) {
		if now, ok := e.New.(*corev1.Node); ok && now.Name == m.options.Name && now.Spec.PodCIDR != "" && cidr == "" {
			cidr = now.Spec.PodCIDR
			found(nil)
		}
	})
	if cidr == "" {
		return netip.Prefix{}, fmt.Errorf("wait for the node's pod addresses: %w", err)
	}
	return netip.ParsePrefix(cidr)
}
