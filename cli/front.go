package cli

import (
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli/flag"

	"clipper/daemon"
)

// frontFlags adds what says how the API shows itself, under kube-apiserver's names.
func frontFlags(cmd *cobra.Command, o *daemon.FrontOptions) {
	f, c := cmd.Flags(), &o.Certificates
	f.StringVar(&c.CertFile, "tls-cert-file", "", "certificate of the API, read again when it changes; pods and nodes must trust its authority: for names that only others use, see --tls-sni-cert-key; default: one of the cluster's own")
	f.StringVar(&c.KeyFile, "tls-private-key-file", "", "key of --tls-cert-file")
	f.StringVar(&c.CertDir, "cert-dir", "", "folder of the API's certificate, apiserver.crt, and its key, apiserver.key, without --tls-cert-file; one of the cluster's own is put there if it is empty; default: it stays in the data directory")
	f.Var(flag.NewNamedCertKeyArray(&c.SNI), "tls-sni-cert-key", "certificate and key for clients that ask for one of its names, or for the names given: cert,key or cert,key:*.example.com,example.com")
	f.StringVar(&c.MinVersion, "tls-min-version", "", "oldest version of TLS that is spoken: "+strings.Join(flag.TLSPossibleVersions(), ", ")+"; default: VersionTLS12")
	f.StringSliceVar(&c.CipherSuites, "tls-cipher-suites", nil, "cipher suites of TLS 1.2; default: those of Go")
	f.Int32SliceVar(&c.Curves, "tls-curve-preferences", nil, "key exchange mechanisms that are allowed, by their numbers in Go's crypto/tls: 29 is X25519; default: those of Go")
	f.BoolVar(&o.NoHTTP2, "disable-http2-serving", false, "offer clients HTTP/1.1 alone")
	f.BoolVar(&o.ShareAddress, "permit-address-sharing", false, "set SO_REUSEADDR: listen beside others at addresses of the same port, and at once after a stop")
	f.BoolVar(&o.SharePort, "permit-port-sharing", false, "set SO_REUSEPORT: several servers may listen at the same address and port")
	f.Func("advertise-address", "address of this server for the cluster; default: that of --listen if it is one that others reach, or --node-ip", func(s string) (err error) {
		o.Advertise, err = netip.ParseAddr(s)
		return err
	})
	f.StringVar(&o.ExternalHost, "external-hostname", "", "name, with a port or without, that /api tells clients to use; the API's own certificate has it")
	f.Var(&o.NodePorts, "service-node-port-range", "ports of services of type NodePort: 30000-32767, 30000+2768")
	f.StringSliceVar(&o.Origins, "cors-allowed-origins", nil, "regular expressions of origins whose pages may use the API from a browser, such as ^https://console\\.example$")
	f.StringSliceVar(&o.HSTS, "strict-transport-security-directives", nil, "directives of Strict-Transport-Security: max-age=..., includeSubDomains, preload")
}
