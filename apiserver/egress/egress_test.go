package egress

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const direct = `apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: controlplane
  connection: {proxyProtocol: Direct}
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "egress.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestThroughAProxy: a connection to the cluster goes through the proxy that is named for it, those to others do not.
func TestThroughAProxy(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "proxy")
	asked := proxy(t, socket)
	d, err := Load(write(t, direct+fmt.Sprintf(`- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport: {uds: {udsName: %s}}
`, socket)))
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Cluster(t.Context(), "tcp", "10.0.0.1:10250")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "hello\n" {
		t.Errorf("%q came back: %v", line, err)
	}
	if target := <-asked; target != "10.0.0.1:10250" {
		t.Errorf("the proxy was asked for %s", target)
	}
	if d.Etcd != nil || d.ControlPlane == nil || d.Lookup == nil {
		t.Errorf("%+v", d)
	}
}

// proxy answers one CONNECT at socket, says what was asked for, and sends back what comes.
func proxy(t *testing.T, socket string) <-chan string {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return // the test is over
		}
		defer c.Close()
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil {
			asked <- err.Error()
			return
		}
		asked <- req.Host + strings.TrimPrefix(req.RequestURI, req.Host)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		_, _ = io.Copy(c, in)
	}()
	return asked
}

// TestFaults: upstream's words for what cannot be meant.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		direct: "",
		strings.Replace(direct, "Direct", "Telepathy", 1):                                                                                          "failed to validate egress selector configuration",
		strings.Replace(direct, "controlplane", "moon", 1):                                                                                         `Unsupported value: "moon": supported values: "cluster", "controlplane", "etcd"`,
		strings.Replace(direct, "{proxyProtocol: Direct}", "{proxyProtocol: GRPC, transport: {tcp: {url: 'http://a'}}}", 1):                        "failed to validate egress selector configuration",
		strings.Replace(direct, "{proxyProtocol: Direct}", "{proxyProtocol: HTTPConnect, transport: {tcp: {url: 'https://a', tlsConfig: {}}}}", 1): "failed to validate egress selector configuration",
		"kind: [": "failed to read egress selector config",
	} {
		_, err := Load(write(t, text))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if d, err := Load(""); err != nil || d.Cluster != nil || d.Lookup != nil {
		t.Errorf("no file: %+v %v", d, err)
	}
	if _, err := Load("/no/such/file"); err == nil {
		t.Error("a file that is not there is good")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(direct)
	f.Add("{")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Load(write(t, text)); err != nil && !strings.Contains(err.Error(), "egress selector") {
			t.Errorf("an error that does not say what it is about: %v", err)
		}
	})
}
