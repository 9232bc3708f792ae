package daemon

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	certutil "k8s.io/client-go/util/cert"

	"clipper/pki"
)

func TestCalloutFaults(t *testing.T) {
	for want, spoil := range map[string]func(*CalloutOptions){
		"": func(*CalloutOptions) {},
		"--kubelet-client-certificate and --kubelet-client-key belong together": func(o *CalloutOptions) { o.Kubelet.Cert = "a" },
		"--proxy-client-cert-file and --proxy-client-key-file belong together":  func(o *CalloutOptions) { o.Proxy.Key = "a" },
		"--kubelet-timeout 0s: must be more than 0":                             func(o *CalloutOptions) { o.KubeletTimeout = 0 },
	} {
		o := defaultCallouts()
		spoil(&o)
		if err := o.complete(); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestCallouts: nodes and extension servers see the certificates of the files; nodes' certificates are good if the
// cluster's authority or the file's has signed them.
func TestCallouts(t *testing.T) {
	own, err := pki.LoadOrCreate(t.TempDir(), pki.Options{ClusterDomain: "cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key, err := certutil.GenerateSelfSignedCertKey("theirs", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	files := CertificateFiles{Cert: filepath.Join(dir, "crt"), Key: filepath.Join(dir, "key")}
	for file, text := range map[string][]byte{files.Cert: cert, files.Key: key} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shown := func(c callouts) string {
		t.Helper()
		node, err := c.nodes.GetClientCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		proxy, err := c.proxy(nil)
		if err != nil {
			t.Fatal(err)
		}
		return name(t, node.Certificate[0]) + " " + name(t, proxy.Certificate[0])
	}
	o := defaultCallouts()
	c, err := o.open(own)
	if err != nil || shown(c) != pki.KubeletClientUser+" "+pki.FrontProxyUser {
		t.Errorf("by default: %s %v", shown(c), err)
	}
	if c.ways.Cluster != nil {
		t.Error("a way that nobody has asked for")
	}
	o.Kubelet, o.Proxy, o.KubeletCAFile = files, files, files.Cert
	if c, err = o.open(own); err != nil || !strings.HasPrefix(shown(c), "theirs@") || strings.Contains(shown(c), pki.FrontProxyUser) {
		t.Errorf("with files: %s %v", shown(c), err)
	}
	both := pool(own.CA.CertPEM)
	both.AppendCertsFromPEM(cert)
	if !c.nodes.RootCAs.Equal(both) {
		t.Error("nodes are believed by other authorities than the cluster's and the file's")
	}
	o.EgressFile = filepath.Join(dir, "none")
	if _, err := o.open(own); err == nil || !strings.HasPrefix(err.Error(), "--egress-selector-config-file: ") {
		t.Error(err)
	}
}

func name(t *testing.T, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c.Subject.CommonName
}
