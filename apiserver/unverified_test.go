package apiserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

// TestLogsOfUnverifiedNode: a client may ask for the log of a node whose certificate is of nobody whom the server knows,
// and has to say so.
func TestLogsOfUnverifiedNode(t *testing.T) {
	agent := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL) }))
	t.Cleanup(agent.Close)
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.NodeTLS = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
		o.DialNode = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, agent.Listener.Addr().String())
		}
	}})
	client, _ := clients(t, s)
	podOnNode(t, client)

	err := client.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{}).Do(t.Context()).Error()
	if err == nil || !strings.Contains(err.Error(), "tls: failed to verify certificate") {
		t.Errorf("verified: %v", err)
	}
	text, err := client.CoreV1().Pods("default").GetLogs("p", &corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: true}).DoRaw(t.Context())
	if err != nil || string(text) != "/containerLogs/default/p/c" {
		t.Errorf("unverified: %q %v", text, err)
	}
}

// TestBindingEndsNomination: a pod that has a node is nominated for none.
func TestBindingEndsNomination(t *testing.T) {
	s := start(t, servertest.Options{})
	client, _ := clients(t, s)
	pods := client.CoreV1().Pods("default")
	p := must(pods.Create(t.Context(), pod("nominated"), metav1.CreateOptions{}))(t)
	p.Status.NominatedNodeName = "m"
	if p = must(pods.UpdateStatus(t.Context(), p, metav1.UpdateOptions{}))(t); p.Status.NominatedNodeName != "m" {
		t.Fatalf("nominated for %q", p.Status.NominatedNodeName)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: p.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n"}}
	if err := pods.Bind(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if p = must(pods.Get(t.Context(), p.Name, metav1.GetOptions{}))(t); p.Spec.NodeName != "n" || p.Status.NominatedNodeName != "" {
		t.Errorf("bound to %q, nominated for %q", p.Spec.NodeName, p.Status.NominatedNodeName)
	}
}
