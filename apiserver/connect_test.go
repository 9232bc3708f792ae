package apiserver_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver"
	"clipper/apiserver/admission"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/servertest"
)

// noAttach refuses to attach to stdin, and remembers what it was shown.
type noAttach struct{ shown []byte }

func (n *noAttach) Validate(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Connect {
		return nil
	}
	n.shown, _ = json.Marshal(a.Object)
	return errors.NewForbidden(schema.GroupResource{Resource: "pods/" + a.Subresource}, a.Name, nil)
}

// TestConnectAdmission: admission sees what is asked of a stream, and can refuse it.
func TestConnectAdmission(t *testing.T) {
	refuse := &noAttach{}
	s := start(t, servertest.Options{Pipeline: func(p *pipeline.Pipeline) {
		p.Admit(admission.NewChain(admission.Plugin{Name: "NoAttach", Validate: refuse}))
	}})
	res, body := call{method: "POST", path: "/api/v1/namespaces/default/pods/p/attach?stdin=true&container=c"}.do(t, s)
	if res.StatusCode != 403 || !strings.Contains(string(body), `pods/attach \"p\" is forbidden`) {
		t.Errorf("%d %s", res.StatusCode, body)
	}
	for _, want := range []string{`"kind":"PodAttachOptions"`, `"stdin":true`, `"container":"c"`} {
		if !strings.Contains(string(refuse.shown), want) {
			t.Errorf("shown %s, without %s", refuse.shown, want)
		}
	}
}

// mutates changes the options of streams that are asked for in a certain way, as a webhook may.
type mutates struct{}

func (mutates) Admit(_ context.Context, a *admission.Attributes) error {
	options, ok := a.Object.(*unstructured.Unstructured)
	switch {
	case !ok || a.Operation != admission.Connect:
	case options.GetKind() == "PodExecOptions" && options.Object["tty"] == true:
		options.Object["command"], options.Object["container"] = []any{"audited-shell"}, "c"
		delete(options.Object, "tty")
	case options.GetKind() == "PodPortForwardOptions" && fmt.Sprint(options.Object["ports"]) == "[22]":
		options.Object["ports"] = []any{int64(2222)}
	case options.GetKind() == "NodeProxyOptions" && options.Object["path"] == "/from":
		options.Object["path"] = "/to/here"
	}
	return nil
}

// podOnNode creates the pod p on a node n, which has an address that nobody answers at.
func podOnNode(t testing.TB, client kubernetes.Interface) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}}
	if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	p := pod("p")
	p.Spec.NodeName = "n"
	if _, err := client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestStreamParameters: what a client asks of a stream reaches the node under the names that nodes read, and as
// admission has left it.
func TestStreamParameters(t *testing.T) {
	asked := make(chan *url.URL, 1)
	agent := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case asked <- r.URL:
		case <-t.Context().Done(): // an earlier answer did not come through
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(agent.Close)
	s := start(t, servertest.Options{Server: func(o *apiserver.Options) {
		o.NodeTLS = &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- a test server on loopback
		o.DialNode = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, agent.Listener.Addr().String())
		}
	}, Pipeline: func(p *pipeline.Pipeline) {
		p.Admit(admission.NewChain(admission.Plugin{Name: "Mutates", Mutate: mutates{}}))
	}})
	client, _ := clients(t, s)
	podOnNode(t, client)
	upgrading := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // #nosec G402 -- likewise
	for in, want := range map[string]string{
		"portforward?ports=80,81&ports=82":                     "/portForward/default/p?port=80&port=81&port=82",
		"portforward":                                          "/portForward/default/p",
		"portforward?ports=http":                               `cannot convert to []int32: strconv.ParseUint: parsing "http": invalid syntax`,
		"exec?command=a&command=b&stdin=&stdout=1&stderr=0":    "/exec/default/p/c?command=a&command=b&input=1&output=1",
		"attach?stdin=false&stderr=true&stdout=true&tty=FALSE": "/attach/default/p/c?error=1&output=1",
		"exec?command=sh&tty=1&stdin=1&container=none":         "/exec/default/p/c?command=audited-shell&input=1",
		"portforward?ports=22":                                 "/portForward/default/p?port=2222",
		"/api/v1/nodes/n/proxy/from?a=b":                       "/to/here?a=b",
		"/api/v1/nodes/n/proxy/x/":                             "/x/",
	} {
		t.Run(in, func(t *testing.T) {
			path := in
			if !strings.HasPrefix(in, "/") {
				path = "/api/v1/namespaces/default/pods/p/" + in
			}
			r := must(http.NewRequest(http.MethodPost, s.URL+path, nil))(t)
			r.Header = http.Header{"Authorization": {"Bearer " + servertest.AdminToken}, "Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}}
			res := must(upgrading.RoundTrip(r))(t)
			defer res.Body.Close()
			var got string
			if res.StatusCode == http.StatusTeapot {
				got = (<-asked).String()
			} else {
				var status metav1.Status
				if err := json.NewDecoder(res.Body).Decode(&status); err != nil {
					t.Fatal(err)
				}
				got = status.Message
			}
			if got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}
