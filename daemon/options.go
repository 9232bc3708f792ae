// Package daemon puts the parts together: it is the one place, beside the command line, that imports
// them all. RunServer is a control plane with or without a node, RunAgent a node alone; both start their
// parts in order, wait for them, and stop them together.
package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/util/validation"
	kubeletapis "k8s.io/kubelet/pkg/apis"

	"clipper/apiserver/admission/all"
	"clipper/controllers/nodeipam"
	"clipper/node/kubeletconfig"
	"clipper/node/kubeletdir"
)

// Where things are by default.
const (
	DefaultDataDir = "/var/lib/clipper"
	// KubeconfigName is the administrator's kubeconfig in the data directory.
	KubeconfigName = "admin.kubeconfig"
)

// NodeOptions say how a machine is a node.
type NodeOptions struct {
	DataDir    string
	Name       string            // of the node; a DNS-1123 subdomain
	IP         string            // of the node; "" to find it
	CgroupRoot string            // below which pods are placed, in every hierarchy
	Labels     map[string]string // given at registration
	Domain     string            // DNS domain of the cluster
	// RootDir is what the node shares with its plug-ins, volumes of pods included: the kubelet's root directory.
	RootDir string
	// LogDir is where the node's logs lie: pods' in LogDir/pods, links to containers' in LogDir/containers.
	LogDir string
	// KubeletConfig is the file of a KubeletConfiguration; "" for the defaults.
	KubeletConfig string
	// ContainerRuntimeEndpoint is the socket of a CRI runtime; "" for that of the settings, or the built-in runtime.
	ContainerRuntimeEndpoint string
	// ImageCredentialProviderConfig and ImageCredentialProviderBinDir are those of plug-ins that know the
	// logins of registries; "" for none.
	ImageCredentialProviderConfig, ImageCredentialProviderBinDir string
}

// ServerOptions say how a server runs.
type ServerOptions struct {
	Node         NodeOptions
	Operation    OperationOptions
	Datastore    DatastoreOptions
	Listen       string // host:port of the API
	ListenFD     int    // an inherited listening socket, served as well; 0 for none
	SANs         []string
	DisableAgent bool
	PodCIDR      string
	NodeCIDRBits int    // length of the prefix of PodCIDR that each node gets
	ServiceCIDR  string // one network, or one of each IP family, comma separated
	Identity     IdentityOptions
	Admission    all.Options
	Front        FrontOptions
	Callouts     CalloutOptions
	// EncryptionConfig is the file of an EncryptionConfiguration; "" for one of the server's own.
	EncryptionConfig string
	// EncryptionReload says whether that file is looked at while the server runs. Nil: it is.
	EncryptionReload *bool
}

// AgentOptions say how an agent runs.
type AgentOptions struct {
	Node   NodeOptions
	Server string // https://host:port
	Token  string // for the first start
	// BootstrapKubeconfig takes the place of Server and Token: a kubeconfig for the first start.
	BootstrapKubeconfig string
}

func defaultNode() NodeOptions {
	name, _ := os.Hostname() // Validate asks for a name if there is none
	return NodeOptions{DataDir: DefaultDataDir, RootDir: kubeletdir.Known, LogDir: "/var/log", Name: strings.ToLower(name), CgroupRoot: "/clipper", Domain: "cluster.local"}
}

// DefaultServerOptions returns what a server does without flags.
func DefaultServerOptions() ServerOptions {
	return ServerOptions{Node: defaultNode(), Identity: defaultIdentity(), Operation: defaultOperation(), Datastore: defaultDatastore(), Front: defaultFront(), Callouts: defaultCallouts(), Listen: ":6443", PodCIDR: "10.42.0.0/16", NodeCIDRBits: nodeipam.DefaultBits, ServiceCIDR: "10.43.0.0/16"}
}

// DefaultAgentOptions returns what an agent does without flags.
func DefaultAgentOptions() AgentOptions { return AgentOptions{Node: defaultNode()} }

// kubeletConfig returns the node's settings.
func (o *NodeOptions) kubeletConfig() (*kubeletconfig.Configuration, error) {
	if o.KubeletConfig == "" {
		return kubeletconfig.Default(), nil
	}
	return kubeletconfig.Load(o.KubeletConfig)
}

// complete fills in what depends on the machine and returns every fault at once, each with its flag.
func (o *NodeOptions) complete() error {
	var faults []error
	if errs := validation.IsDNS1123Subdomain(o.Name); len(errs) > 0 {
		faults = append(faults, fmt.Errorf("--node-name %q: %s", o.Name, strings.Join(errs, "; ")))
	}
	if errs := validation.IsDNS1123Subdomain(o.Domain); len(errs) > 0 {
		faults = append(faults, fmt.Errorf("--cluster-domain %q: %s", o.Domain, strings.Join(errs, "; ")))
	}
	if !strings.HasPrefix(o.CgroupRoot, "/") {
		faults = append(faults, fmt.Errorf("--cgroup-root %q: must start with /, it is a path below each cgroup hierarchy", o.CgroupRoot))
	}
	var reserved []string
	for key, value := range o.Labels {
		if isReserved(key) && !kubeletapis.IsKubeletLabel(key) {
			reserved = append(reserved, key)
		}
		errs := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
		if len(errs) > 0 {
			faults = append(faults, fmt.Errorf("--node-label %s=%s: %s", key, value, strings.Join(errs, "; ")))
		}
	}
	if len(reserved) > 0 {
		slices.Sort(reserved)
		faults = append(faults, fmt.Errorf("--node-label: unknown 'kubernetes.io' or 'k8s.io' labels %v; those in the 'kubernetes.io' namespace must begin with an allowed prefix (%s) or be in the specifically allowed set (%s)",
			reserved, strings.Join(kubeletapis.KubeletLabelNamespaces(), ", "), strings.Join(kubeletapis.KubeletLabels(), ", ")))
	}
	if dir, err := filepath.Abs(o.DataDir); err != nil || o.DataDir == "" {
		faults = append(faults, fmt.Errorf("--data-dir %q: give a directory that can be written", o.DataDir))
	} else {
		o.DataDir = dir
	}
	if !filepath.IsAbs(o.LogDir) {
		faults = append(faults, fmt.Errorf("--log-dir %q: give an absolute path", o.LogDir))
	}
	if !filepath.IsAbs(o.RootDir) {
		faults = append(faults, fmt.Errorf("--root-dir %q: give an absolute path", o.RootDir))
	}
	if o.IP == "" {
		ip, err := hostAddress()
		if err != nil {
			faults = append(faults, fmt.Errorf("--node-ip: %w; give this machine's address", err))
		}
		o.IP = ip
	} else if _, err := netip.ParseAddr(o.IP); err != nil {
		faults = append(faults, fmt.Errorf("--node-ip %q: not an IP address", o.IP))
	}
	return errors.Join(faults...)
}

// isReserved reports whether a label's key lies in Kubernetes' own namespaces, where nodes may not choose freely.
func isReserved(key string) bool {
	namespace, _, _ := strings.Cut(key, "/")
	if !strings.Contains(key, "/") {
		return false
	}
	for _, own := range []string{"kubernetes.io", "k8s.io"} {
		if namespace == own || strings.HasSuffix(namespace, "."+own) {
			return true
		}
	}
	return false
}

func (o *ServerOptions) complete() error {
	faults := []error{o.Node.complete(), o.Operation.complete(), o.Datastore.complete(), o.Admission.Validate(), o.Front.complete(), o.Callouts.complete(), o.Identity.complete()}
	if o.EncryptionReload != nil && *o.EncryptionReload && o.EncryptionConfig == "" {
		faults = append(faults, errors.New("--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"))
	}
	if _, _, err := net.SplitHostPort(o.Listen); err != nil {
		faults = append(faults, fmt.Errorf("--listen %q: not of the form host:port, such as 0.0.0.0:6443", o.Listen))
	}
	if p, err := netip.ParsePrefix(o.PodCIDR); err != nil || p.Masked() != p || !p.Addr().Is4() || p.Bits() > mostPodCIDRBits {
		faults = append(faults, fmt.Errorf("--pod-cidr %q: give an IPv4 network of at least %d addresses, such as 10.42.0.0/16",
			o.PodCIDR, 1<<(32-mostPodCIDRBits)))
	}
	faults = append(faults, o.checkServices())
	if p, err := netip.ParsePrefix(o.PodCIDR); err == nil && (o.NodeCIDRBits < p.Bits() || o.NodeCIDRBits > mostNodeCIDRBits) {
		faults = append(faults, fmt.Errorf("--node-cidr-mask-size %d: must be from %d, that of --pod-cidr, to %d", o.NodeCIDRBits, p.Bits(), mostNodeCIDRBits))
	}
	return errors.Join(faults...)
}

const mostPodCIDRBits = 24

// mostNodeCIDRBits leaves a node five addresses for pods.
const mostNodeCIDRBits = 29

func (o *AgentOptions) complete() error {
	faults := []error{o.Node.complete()}
	if o.BootstrapKubeconfig != "" {
		return errors.Join(faults...)
	}
	if u, err := url.Parse(o.Server); err != nil || u.Scheme != "https" || u.Host == "" {
		faults = append(faults, fmt.Errorf("--server %q: not an address of the form https://host:6443", o.Server))
	}
	return errors.Join(faults...)
}

// hostAddress returns the address of the interface of the default route or, where there is no such route,
// the first address that is not of this host alone.
func hostAddress() (string, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return "", fmt.Errorf("list the routes of this machine: %w", err)
	}
	links := []netlink.Link{}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
				links = append(links, link)
			}
		}
	}
	if all, err := netlink.LinkList(); err == nil {
		links = append(links, all...)
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if a.IP.IsGlobalUnicast() {
				return a.IP.String(), nil
			}
		}
	}
	return "", errors.New("no interface of this machine has an address")
}
