package cli

import (
	"github.com/spf13/cobra"

	"clipper/daemon"
)

// calloutFlags adds what says how the API server calls others, under kube-apiserver's names.
func calloutFlags(cmd *cobra.Command, o *daemon.CalloutOptions) {
	f := cmd.Flags()
	f.StringVar(&o.Kubelet.Cert, "kubelet-client-certificate", "", "certificate that is shown to nodes' agents, read again for each connection; they must believe its authority; default: one of the cluster's own")
	f.StringVar(&o.Kubelet.Key, "kubelet-client-key", "", "key of --kubelet-client-certificate")
	f.StringVar(&o.KubeletCAFile, "kubelet-certificate-authority", "", "authorities of the certificates of nodes' agents, beside the cluster's own")
	f.DurationVar(&o.KubeletTimeout, "kubelet-timeout", o.KubeletTimeout, "how long it may take to connect to a node's agent")
	f.StringVar(&o.Proxy.Cert, "proxy-client-cert-file", "", "certificate that is shown to extension API servers, read again for each connection; its authority and name belong into --requestheader-client-ca-file and --requestheader-allowed-names; default: one of the cluster's own")
	f.StringVar(&o.Proxy.Key, "proxy-client-key-file", "", "key of --proxy-client-cert-file")
	always(cmd, "enable-aggregator-routing", "extension servers are reached at their pods, not at the address of their service")
	always(cmd, "aggregator-reject-forwarding-redirect", "clients are not sent elsewhere by extension servers")
	f.StringVar(&o.EgressFile, "egress-selector-config-file", "", "EgressSelectorConfiguration (apiserver.k8s.io): proxies through which nodes, pods and services, servers that are asked, and etcd are reached")
}
