package cli

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"clipper/daemon"
	"clipper/node/kubeletdir"
)

func newServer() *cobra.Command {
	o := daemon.DefaultServerOptions()
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane, and a node beside it",
		Long: `Run the control plane and, unless --disable-agent is given, a node in the same process.

State is kept below --data-dir; a server that is started again on the same directory
goes on where it stopped, and containers that were running have not noticed.

Several servers share their state in etcd: members that run in the servers themselves (--cluster-init
on the first, --join on the others; three servers survive the loss of one), or a cluster of your own
(--etcd-servers on all of them, and --join on all but the first).`,
		Example: `  clipper server
  clipper server --data-dir /srv/clipper --listen 10.0.0.1:6443 --disable-agent
  clipper server --cluster-init
  clipper server --join https://10.0.0.1:6443 --token "$(ssh 10.0.0.1 clipper token create --server)"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return daemon.RunServer(cmd.Context(), o) },
	}
	serverFlags(cmd, &o)
	return cmd
}

// serverFlags adds all flags of a server.
func serverFlags(cmd *cobra.Command, o *daemon.ServerOptions) {
	f := cmd.Flags()
	nodeFlags(cmd, &o.Node)
	operationFlags(cmd, &o.Operation)
	datastoreFlags(cmd, &o.Datastore)
	listenFlags(cmd, &o.Listen)
	f.IntVar(&o.ListenFD, "listen-fd", o.ListenFD, "serve the API also on this inherited listening socket")
	f.StringSliceVar(&o.SANs, "tls-san", nil, "further names and addresses for the API's certificate")
	f.BoolVar(&o.DisableAgent, "disable-agent", false, "run the control plane alone, without a node")
	f.StringVar(&o.PodCIDR, "pod-cidr", o.PodCIDR, "addresses for pods; each node gets a share of it")
	f.IntVar(&o.NodeCIDRBits, "node-cidr-mask-size", o.NodeCIDRBits, "length of the prefix of --pod-cidr that each node gets")
	f.StringVar(&o.ServiceCIDR, "service-cidr", o.ServiceCIDR, "addresses for services: a network, or one of each IP family, comma separated; nodes route the IPv4 one")
	f.StringVar(&o.ServiceCIDR, "service-cluster-ip-range", o.ServiceCIDR, "kube-apiserver's name for --service-cidr")
	cmd.MarkFlagsMutuallyExclusive("service-cidr", "service-cluster-ip-range")
	identityFlags(cmd, &o.Identity)
	admissionFlags(cmd, &o.Admission)
	frontFlags(cmd, &o.Front)
	calloutFlags(cmd, &o.Callouts)
	f.StringVar(&o.EncryptionConfig, "encryption-provider-config", "", "EncryptionConfiguration; default: one with a key of its own, for secrets, is made in the data directory")
	f.BoolFunc("encryption-provider-config-automatic-reload", "take changes of that file over while the server runs (default true)", boolFlag(&o.EncryptionReload))
}

// listenFlags adds what says where the API listens: in one flag, or in the two that kube-apiserver has for it.
func listenFlags(cmd *cobra.Command, listen *string) {
	f := cmd.Flags()
	host, port, _ := net.SplitHostPort(*listen)
	f.StringVar(listen, "listen", *listen, "address and port of the API; not used with --listen-fd")
	f.Func("bind-address", "kube-apiserver's name for the address of --listen", func(s string) error {
		if _, err := netip.ParseAddr(s); err != nil {
			return err
		}
		host, *listen = s, net.JoinHostPort(s, port)
		return nil
	})
	f.Func("secure-port", "kube-apiserver's name for the port of --listen (default "+port+")", func(s string) error {
		if n, err := strconv.ParseUint(s, 10, 16); err != nil || n == 0 {
			return errors.New("must be between 1 and 65535, inclusive. It cannot be turned off with 0")
		}
		port, *listen = s, net.JoinHostPort(host, s)
		return nil
	})
	cmd.MarkFlagsMutuallyExclusive("listen", "bind-address")
	cmd.MarkFlagsMutuallyExclusive("listen", "secure-port")
}

func newAgent() *cobra.Command {
	o := daemon.DefaultAgentOptions()
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run a node that joins a server",
		Long: `Run a node of the cluster of --server. The first start needs --token, which the server's
'clipper token create' prints; it names the cluster's CA, so that the node joins no other.
Later starts use the certificate that the node was given.`,
		Example: `  clipper agent --server https://10.0.0.1:6443 --token K10…`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Server == "" && o.BootstrapKubeconfig == "" {
				return fmt.Errorf("agent: --server is missing; give the server's address, for example --server https://10.0.0.1:6443")
			}
			return daemon.RunAgent(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	nodeFlags(cmd, &o.Node)
	f.StringVar(&o.Server, "server", "", "address of the server's API")
	f.StringVar(&o.Token, "token", os.Getenv("CLIPPER_TOKEN"), "join token; also read from CLIPPER_TOKEN")
	f.StringVar(&o.BootstrapKubeconfig, "bootstrap-kubeconfig", "", "kubeconfig for the node's first certificate, as kubeadm makes it for kubelets; in place of --server and --token")
	return cmd
}

// nodeFlags adds the flags that a server and an agent have in common.
func nodeFlags(cmd *cobra.Command, o *daemon.NodeOptions) {
	f := cmd.Flags()
	f.StringVar(&o.DataDir, "data-dir", o.DataDir, "where all state is kept")
	f.StringVar(&o.LogDir, "log-dir", o.LogDir, "where collectors find the node's logs: pods' in its folder pods, links to containers' in containers")
	f.StringVar(&o.RootDir, "root-dir", o.RootDir, "what the node shares with plug-ins, and where pods' volumes lie; pods find it at "+kubeletdir.Known+" wherever it is")
	f.StringVar(&o.Name, "node-name", o.Name, "name of this node; default: the host's name")
	f.StringVar(&o.IP, "node-ip", "", "address of this node; default: that of the interface of the default route")
	f.StringVar(&o.CgroupRoot, "cgroup-root", o.CgroupRoot, "cgroup below which pods are placed")
	f.StringToStringVar(&o.Labels, "node-label", nil, "labels of the node at its registration: key=value")
	f.StringVar(&o.Domain, "cluster-domain", o.Domain, "DNS domain of the cluster")
	f.StringVar(&o.ContainerRuntimeEndpoint, "container-runtime-endpoint", "", "socket of a CRI runtime that runs the pods, such as unix:///run/containerd/containerd.sock; default: the built-in runtime")
	f.StringVar(&o.KubeletConfig, "kubelet-config", "", "KubeletConfiguration (kubelet.config.k8s.io/v1beta1): the settings of this node")
	f.StringVar(&o.ImageCredentialProviderConfig, "image-credential-provider-config", "", "CredentialProviderConfig, a file or a folder of them: plug-ins that know logins for registries")
	f.StringVar(&o.ImageCredentialProviderBinDir, "image-credential-provider-bin-dir", "", "folder of the credential provider plug-ins")
}

func newToken() *cobra.Command {
	token := &cobra.Command{Use: "token", Short: "Manage the tokens that nodes and servers join with"}
	var dataDir string
	var server bool
	create := &cobra.Command{
		Use:     "create",
		Short:   "Print a new join token; it is good for 24 hours",
		Example: `  clipper agent --server https://10.0.0.1:6443 --token "$(ssh 10.0.0.1 clipper token create)"`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := daemon.CreateToken(cmd.Context(), dataDir, server)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), t)
			return err
		},
	}
	create.Flags().StringVar(&dataDir, "data-dir", daemon.DefaultDataDir, "the server's data directory")
	create.Flags().BoolVar(&server, "server", false, "make a token with which a machine becomes a server; who has it holds the keys of the cluster")
	token.AddCommand(create)
	return token
}
