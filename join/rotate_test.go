package join

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"clipper/apiserver/apiservertest"
	"clipper/pki"
)

// joined is a node that has joined a server.
func joined(t *testing.T, s *apiservertest.Server) (*Identity, Request) {
	t.Helper()
	admin := kubernetes.NewForConfigOrDie(s.Admin(t))
	token, err := CreateToken(t.Context(), admin.CoreV1().Secrets("kube-system"), s.Keys.CA.Hash(), time.Hour, "for a test")
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Server: s.URL, Token: token.String(), NodeName: "n1", Hosts: []string{"192.0.2.1"}, Dir: t.TempDir()}
	id, err := Join(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return id, r
}

// age replaces a certificate on disk by one that has little time left.
func age(t *testing.T, s *apiservertest.Server, dir, base string, have tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: have.Leaf.Subject, DNSNames: have.Leaf.DNSNames, IPAddresses: have.Leaf.IPAddresses}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := s.Keys.CA.SignRequest(csr, have.Leaf.KeyUsage, have.Leaf.ExtKeyUsage, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	pair := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	certPEM, keyPEM, err := pki.EncodePair(pair)
	if err != nil {
		t.Fatal(err)
	}
	for ext, data := range map[string][]byte{".crt": certPEM, ".key": keyPEM} {
		if err := os.WriteFile(filepath.Join(dir, base+ext), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair
}

// A node whose certificates end in a minute gets new ones while it works: its server shows the new one to the next
// who calls, and the files hold the new pair.
func TestRotation(t *testing.T) {
	s := apiservertest.Start(t)
	id, r := joined(t, s)
	id.client, id.serving = age(t, s, r.Dir, clientBase, id.client), age(t, s, r.Dir, servingBase, id.serving)
	oldClient, oldServing := id.client.Leaf, id.serving.Leaf
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: id.GetCertificate})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	shown := func() *x509.Certificate {
		accepted := make(chan struct{})
		go func() {
			defer close(accepted)
			if c, err := l.Accept(); err == nil {
				c.(*tls.Conn).HandshakeContext(t.Context()) //nolint:errcheck // the client tells
				c.Close()
			}
		}()
		c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: s.Keys.CA.Pool(), ServerName: "192.0.2.1"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		<-accepted
		return c.ConnectionState().PeerCertificates[0]
	}
	if !shown().Equal(oldServing) {
		t.Fatal("the node does not show its certificate")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- id.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); id.clientLeaf().Equal(oldClient) || id.servingLeaf().Equal(oldServing); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not renewed in 30 seconds")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c := shown(); !c.Equal(id.servingLeaf()) || time.Until(c.NotAfter) < time.Hour {
		t.Error("the node shows an old certificate")
	}
	r.Token = ""
	again, err := Join(t.Context(), r)
	if err != nil || !again.clientLeaf().Equal(id.clientLeaf()) {
		t.Errorf("after a restart the node has other certificates: %v", err)
	}
	if _, err := kubernetes.NewForConfigOrDie(again.Config()).CoreV1().Nodes().List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=n1"}); err != nil {
		t.Errorf("the renewed certificate does not count: %v", err)
	}
}

// A kubeconfig with a bootstrap token serves in place of server and token, as it does kubelets.
func TestBootstrapKubeconfig(t *testing.T) {
	s := apiservertest.Start(t)
	admin := kubernetes.NewForConfigOrDie(s.Admin(t))
	token, err := CreateToken(t.Context(), admin.CoreV1().Secrets("kube-system"), s.Keys.CA.Hash(), time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: s.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Keys.CA.Cert.Raw})}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Bearer()}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	r := Request{Bootstrap: file, NodeName: "n2", Hosts: []string{"192.0.2.2"}, Dir: t.TempDir(), Serving: ServingSelf}
	id, err := Join(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubernetes.NewForConfigOrDie(id.Config()).CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}, metav1.CreateOptions{}); err != nil {
		t.Errorf("the node cannot register: %v", err)
	}
	if leaf := id.servingLeaf(); leaf.VerifyHostname("192.0.2.2") != nil || !bytes.Equal(leaf.RawIssuer, leaf.RawSubject) {
		t.Errorf("the node serves with %v", leaf.Subject)
	}
	again, err := Join(t.Context(), r)
	if err != nil || !again.servingLeaf().Equal(id.servingLeaf()) {
		t.Errorf("a second start has another certificate: %v", err)
	}
}

// Where somebody has to approve it, a node works without a serving certificate until that is done; a request that is
// refused is not the last.
func TestServingLater(t *testing.T) {
	s := apiservertest.Start(t)
	_, r := joined(t, s)
	r.Serving, r.Dir = ServingLater, t.TempDir()
	id, err := Join(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := id.GetCertificate(nil); err == nil || !strings.Contains(err.Error(), "no serving certificate available") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- id.Run(ctx) }()
	for end := time.Now().Add(30 * time.Second); id.servingLeaf() == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no certificate in 30 seconds")
		}
	}
	cancel()
	<-done
	refused := &certificatesv1.CertificateSigningRequest{Status: certificatesv1.CertificateSigningRequestStatus{
		Conditions: []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateDenied, Message: "no"}}}}
	if _, err := signed(refused); err == nil || !strings.Contains(err.Error(), "is Denied: no") {
		t.Errorf("got %v", err)
	}
}

func TestSplit(t *testing.T) {
	ips, names := split([]string{"192.0.2.1", "n1", "2001:db8::1"})
	if len(ips) != 2 || !ips[1].Equal(net.ParseIP("2001:db8::1")) || len(names) != 1 {
		t.Errorf("%v, %v", ips, names)
	}
}
