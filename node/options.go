// Package node is the node agent: it joins a machine to the cluster and runs the pods bound to it. It does
// what a kubelet does, as seen from the API and from the machine.
//
// An Agent wires the parts together: podworker (a worker per pod), volume, probe, status (the Node object
// and its lease) and server (the kubelet's HTTPS API). It keeps nothing on disk that the API, the runtime
// and the kernel do not know already: ended at any instant, even by SIGKILL, it is simply started again;
// containers never notice.
package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/node/kubeletconfig"
	"clipper/node/kubeletdir"
	"clipper/node/network"
	"clipper/node/runtime"
	"clipper/node/shutdown"
)

// Version is Clipper's.
const Version = "0.1.0"

// Options say what a node is made of. Fields without a default are required.
type Options struct {
	Client  api.Client
	Runtime runtime.Runtime
	Images  runtime.Images
	// RuntimeName and RuntimeVersion are what the node says of its runtime, as in clipper://v0.1.0. Default: the
	// built-in one's.
	RuntimeName, RuntimeVersion string
	// OpenNetwork returns the pod network once the node is registered: its share of addresses stands in
	// node.Spec.PodCIDR then. It may wait for that; until it returns the node is not ready.
	OpenNetwork func(ctx context.Context, node *corev1.Node) (network.Network, error)

	NodeName string
	NodeIPs  []netip.Addr // primary first
	Hostname string       // default: NodeName
	Labels   map[string]string
	Taints   []corev1.Taint

	DataDir     string         // absolute
	RootDir     kubeletdir.Dir // shared with plug-ins, pods' directories lie in it; default: <DataDir>/kubelet
	LogDir      string         // pods' logs and links to them lie in it; default: <DataDir>/logs
	CgroupRoot  string         // of pods, relative to the hierarchies' roots; default "/clipper/pods"
	ManifestDir string         // static pods; "" for none

	ClusterDNS    []netip.Addr
	ClusterDomain string // default "cluster.local"
	ResolvConf    string // the node's resolver file; default "/etc/resolv.conf"

	// Config are the settings that a kubelet has too. Default: kubeletconfig.Default.
	Config *kubeletconfig.Configuration

	// Login connects to the machine's login manager, which announces shutdowns. Default: systemd's.
	Login func(context.Context) (shutdown.Login, error)

	// Listener takes the node's HTTPS server, with ServingCert. Nil: the node has none, and logs, exec and
	// the like do not work.
	Listener    net.Listener
	ServingCert func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// ClientCAs verifies callers' certificates; what callers may do, the API server is asked.
	ClientCAs  *x509.CertPool
	Collectors []prometheus.Collector // further metrics of the node, for /metrics

	// ImageCredentialProviderConfig and ImageCredentialProviderBinDir are the configuration and the programs
	// of plug-ins that know registries' logins, as a kubelet's flags of that name have them. "" for none.
	ImageCredentialProviderConfig, ImageCredentialProviderBinDir string
}

func (o *Options) complete() error {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&o.Hostname, strings.ToLower(o.NodeName))
	if o.RootDir == "" {
		o.RootDir = kubeletdir.Dir(filepath.Join(o.DataDir, "kubelet"))
	}
	def(&o.LogDir, filepath.Join(o.DataDir, "logs"))
	def(&o.CgroupRoot, "/clipper/pods")
	def(&o.ClusterDomain, "cluster.local")
	def(&o.ResolvConf, "/etc/resolv.conf")
	def(&o.RuntimeName, "clipper")
	def(&o.RuntimeVersion, "v"+Version)
	if o.Login == nil {
		o.Login = shutdown.ConnectLogind
	}
	if o.Config == nil {
		o.Config = kubeletconfig.Default()
	}
	var faults []error
	missing := func(bad bool, name string) {
		if bad {
			faults = append(faults, fmt.Errorf("node options: %s is missing", name))
		}
	}
	missing(o.Client == nil, "Client")
	missing(o.Runtime == nil, "Runtime")
	missing(o.Images == nil, "Images")
	missing(o.OpenNetwork == nil, "OpenNetwork")
	missing(o.NodeName == "", "NodeName")
	missing(len(o.NodeIPs) == 0, "NodeIPs")
	missing(!filepath.IsAbs(o.DataDir), "an absolute DataDir")
	missing(!filepath.IsAbs(string(o.RootDir)), "an absolute RootDir")
	missing(o.Listener != nil && (o.ServingCert == nil || o.ClientCAs == nil), "ServingCert or ClientCAs, which Listener needs,")
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	for _, dir := range []string{o.DataDir, string(o.RootDir)} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("create the node's directory: %w", err)
		}
	}
	for _, dir := range []string{o.podLogsDir(), string(o.logLinks())} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create the directory of logs: %w", err)
		}
	}
	return nil
}
