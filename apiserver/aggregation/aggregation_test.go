package aggregation_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"clipper/apiserver/servertest"
)

const groupVersion = "/apis/wardle.example.com/v1alpha1"

// An extension is a small extension API server.
type extension struct {
	*httptest.Server
	aggregated bool // it knows aggregated discovery
}

func (x *extension) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/apis":
		if !x.aggregated {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		fmt.Fprint(w, `{"items":[{"metadata":{"name":"wardle.example.com"},"versions":[{"version":"v1alpha1","resources":[`+
			`{"resource":"flunders","responseKind":{"kind":"Flunder"},"scope":"Namespaced","singularResource":"flunder","verbs":["get","list","delete","watch"]}]}]}]}`)
	case groupVersion:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"wardle.example.com/v1alpha1","resources":[`+
			`{"name":"flunders","singularName":"flunder","namespaced":true,"kind":"Flunder","verbs":["get","list","delete","watch"]}]}`)
	case groupVersion + "/namespaces/default/flunders":
		x.watch(w, r)
	case groupVersion + "/namespaces/ns/flunders":
		w.Header().Set("Content-Type", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
		fmt.Fprintf(w, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{},"items":[{"metadata":{"namespace":"ns","name":%q}}]}`, r.Header.Get("X-Remote-User"))
	case groupVersion + "/namespaces/ns/flunders/f":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Success","message":%q}`, r.Method)
	case groupVersion + "/echo":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s %d %s %s %q", r.Method, len(body), r.URL.RawQuery, r.Header.Get("X-Remote-User"), r.Header["X-Remote-Group"])
	case groupVersion + "/elsewhere":
		http.Redirect(w, r, "https://evil.example.com/", http.StatusFound)
	case groupVersion + "/upgrade":
		x.upgrade(w)
	case "/openapi/v3":
		fmt.Fprint(w, `{"paths":{"apis/wardle.example.com/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1"}}}`)
	case "/openapi/v3" + groupVersion:
		fmt.Fprint(w, `{"openapi":"3.0.0","info":{"title":"wardle"}}`)
	default:
		http.NotFound(w, r)
	}
}

func (x *extension) watch(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for n := range 2 {
		fmt.Fprintf(w, `{"type":"ADDED","object":{"apiVersion":"wardle.example.com/v1alpha1","kind":"Flunder","metadata":{"name":"f%d"}}}`+"\n", n)
		w.(http.Flusher).Flush()
	}
	<-r.Context().Done()
}

// upgrade switches protocols and then says everything twice.
func (x *extension) upgrade(w http.ResponseWriter) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: twice\r\n\r\n")
	rw.Flush()
	line, err := rw.ReadString('\n')
	if err == nil {
		fmt.Fprint(rw, line, line)
		rw.Flush()
	}
}

type fixture struct {
	*testing.T
	s        *servertest.Server
	cs       *kubernetes.Clientset
	services *clientset.Clientset
	x        *extension
}

func setUp(t *testing.T, aggregated bool) *fixture {
	t.Helper()
	x := &extension{aggregated: aggregated}
	x.Server = httptest.NewUnstartedServer(x)
	x.EnableHTTP2 = true
	x.StartTLS()
	t.Cleanup(x.Close)
	s, err := servertest.Start(t.TempDir(), servertest.Options{Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, x.Listener.Addr().String())
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return &fixture{T: t, s: s, cs: kubernetes.NewForConfigOrDie(s.Config), services: clientset.NewForConfigOrDie(s.Config), x: x}
}

func (f *fixture) register(change func(*apiregistrationv1.APIServiceSpec)) {
	f.Helper()
	port := int32(443)
	s := &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.wardle.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "wardle.example.com", Version: "v1alpha1", GroupPriorityMinimum: 2000, VersionPriority: 200,
			Service: &apiregistrationv1.ServiceReference{Namespace: "wardle", Name: "api", Port: &port}, InsecureSkipTLSVerify: true,
		},
	}
	change(&s.Spec)
	if _, err := f.services.ApiregistrationV1().APIServices().Create(context.Background(), s, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) serve() {
	f.Helper()
	ctx := context.Background()
	name, port, ready := "", int32(8443), true
	if _, err := f.cs.CoreV1().Services("wardle").Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}, Ports: []corev1.ServicePort{{Port: 443}}}}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
	if _, err := f.cs.DiscoveryV1().EndpointSlices("wardle").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "api-1", Labels: map[string]string{discoveryv1.LabelServiceName: "api"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.10"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}, metav1.CreateOptions{}); err != nil {
		f.Fatal(err)
	}
}

// condition waits until the APIService has a reason.
func (f *fixture) condition(reason string) apiregistrationv1.APIServiceCondition {
	f.Helper()
	var last apiregistrationv1.APIServiceCondition
	f.until("condition "+reason, func() bool {
		s, err := f.services.ApiregistrationV1().APIServices().Get(context.Background(), "v1alpha1.wardle.example.com", metav1.GetOptions{})
		if err != nil {
			f.Fatal(err)
		}
		if len(s.Status.Conditions) > 0 {
			last = s.Status.Conditions[0]
		}
		return last.Reason == reason
	})
	return last
}

// until polls: what it waits for happens in other goroutines of the server.
func (f *fixture) until(what string, ok func() bool) {
	f.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.Fatalf("not within 20 s: %s", what)
		}
	}
}

// get asks as a user, with an Accept header.
func (f *fixture) get(path, accept string) (int, string) {
	f.Helper()
	return f.do(http.MethodGet, path, accept, nil)
}

func (f *fixture) do(method, path, accept string, body io.Reader) (int, string) {
	f.Helper()
	r, err := http.NewRequest(method, f.s.URL+path, body)
	if err != nil {
		f.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer jane")
	r.Header.Set("Accept", accept)
	r.Header.Set("X-Remote-User", "forged")
	res, err := f.s.HTTPClient().Do(r)
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func (f *fixture) aggregated() apidiscoveryv2.APIGroupDiscoveryList {
	f.Helper()
	_, text := f.get("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	var list apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		f.Fatal(err)
	}
	return list
}

func (f *fixture) fresh() {
	f.Helper()
	f.until("discovery is current", func() bool {
		for _, g := range f.aggregated().Items {
			if g.Name == "wardle.example.com" {
				v := g.Versions[0]
				return v.Freshness == apidiscoveryv2.DiscoveryFreshnessCurrent && len(v.Resources) == 1 && v.Resources[0].ResponseKind.Kind == "Flunder"
			}
		}
		return false
	})
}

func TestAvailability(t *testing.T) {
	f := setUp(t, true)
	f.register(func(*apiregistrationv1.APIServiceSpec) {})
	if c := f.condition("ServiceNotFound"); c.Status != "False" || c.Message != `service/api in "wardle" is not present` {
		t.Errorf("%+v", c)
	}
	if code, text := f.get(groupVersion, "application/json"); code != 503 || text != "service unavailable\n" {
		t.Errorf("not available: %d %q", code, text)
	}
	f.serve()
	if c := f.condition("Passed"); c.Status != "True" || c.Message != "all checks passed" {
		t.Errorf("%+v", c)
	}
	f.fresh()
	if err := f.cs.DiscoveryV1().EndpointSlices("wardle").Delete(context.Background(), "api-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if c := f.condition("EndpointsNotFound"); c.Message != `cannot find endpointslices for service/api in "wardle"` {
		t.Errorf("%+v", c)
	}
	f.until("discovery is stale", func() bool {
		for _, g := range f.aggregated().Items {
			if g.Name == "wardle.example.com" {
				return g.Versions[0].Freshness == apidiscoveryv2.DiscoveryFreshnessStale && len(g.Versions[0].Resources) == 1
			}
		}
		return false
	})
	_, text := f.get("/metrics", "*/*")
	for _, want := range []string{`aggregator_unavailable_apiservice{name="v1alpha1.wardle.example.com"} 1`,
		`aggregator_unavailable_apiservice_total{name="v1alpha1.wardle.example.com",reason="EndpointsNotFound"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if err := f.services.ApiregistrationV1().APIServices().Delete(context.Background(), "v1alpha1.wardle.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("the group is gone", func() bool {
		code, _ := f.get(groupVersion, "application/json")
		return code == 404
	})
}

// TestProxy: requests, large bodies, watches and upgrades reach the extension server as their user.
func TestProxy(t *testing.T) {
	for _, aggregated := range []bool{true, false} {
		t.Run(fmt.Sprintf("aggregated=%v", aggregated), func(t *testing.T) {
			f := setUp(t, aggregated)
			f.serve()
			f.register(func(*apiregistrationv1.APIServiceSpec) {})
			f.condition("Passed")
			f.fresh()
			f.until("requests are passed on", func() bool {
				code, _ := f.get(groupVersion, "application/json")
				return code == 200
			})
			large := bytes.Repeat([]byte("x"), 5<<20)
			if code, text := f.do(http.MethodPost, groupVersion+"/echo?a=1", "*/*", bytes.NewReader(large)); code != 200 || text != `POST 5242880 a=1 jane ["system:authenticated"]` {
				t.Errorf("echo: %d %s", code, text)
			}
			if code, text := f.get(groupVersion+"/elsewhere", "*/*"); code != http.StatusBadGateway || text != "the backend attempted to redirect this request, which is not permitted" {
				t.Errorf("a redirection: %d %s", code, text)
			}
			f.watches()
			f.upgrades()
			f.documents()
			f.held()
		})
	}
}

func (f *fixture) watches() {
	f.Helper()
	r, err := http.NewRequest(http.MethodGet, f.s.URL+groupVersion+"/namespaces/default/flunders?watch=true", nil)
	if err != nil {
		f.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer jane")
	res, err := f.s.HTTPClient().Do(r)
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for n := range 2 {
		if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf(`"name":"f%d"`, n)) {
			f.Errorf("event %d: %q %v", n, lines.Text(), lines.Err())
		}
	}
}

func (f *fixture) upgrades() {
	f.Helper()
	r, err := http.NewRequest(http.MethodGet, f.s.URL+groupVersion+"/upgrade", nil)
	if err != nil {
		f.Fatal(err)
	}
	for key, value := range map[string]string{"Authorization": "Bearer jane", "Connection": "Upgrade", "Upgrade": "twice"} {
		r.Header.Set(key, value)
	}
	c := f.s.HTTPClient()
	c.Transport.(*http.Transport).ForceAttemptHTTP2 = false
	c.Transport.(*http.Transport).DisableKeepAlives = false
	res, err := c.Do(r)
	if err != nil {
		f.Fatal(err)
	}
	defer res.Body.Close()
	conn, ok := res.Body.(io.ReadWriter)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		f.Fatalf("status %d", res.StatusCode)
	}
	fmt.Fprintln(conn, "hello")
	if text, err := io.ReadAll(conn); err != nil || string(text) != "hello\nhello\n" {
		f.Errorf("upgraded: %q %v", text, err)
	}
}

// held: the server's own parts reach what the extension holds, in the name of the user they choose.
func (f *fixture) held() {
	f.Helper()
	h, err := f.s.Extensions.Held(&user.DefaultInfo{Name: "collector"})
	if err != nil {
		f.Fatal(err)
	}
	resources, err := h.Namespaced()
	flunders := schema.GroupVersionResource{Group: "wardle.example.com", Version: "v1alpha1", Resource: "flunders"}
	if err != nil || len(resources) != 1 || resources[0] != flunders {
		f.Fatalf("resources %v, error %v", resources, err)
	}
	if got := h.Collectable(); len(got) != 1 || got[0].GVR() != flunders || got[0].Kind != "Flunder" || !got[0].Namespaced {
		f.Errorf("collectable: %+v", got)
	}
	list, err := h.Resource(flunders).Namespace("ns").List(context.Background(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != "collector" {
		f.Errorf("list: %v, error %v", list, err)
	}
	if err := h.Resource(flunders).Namespace("ns").Delete(context.Background(), "f", metav1.DeleteOptions{}); err != nil {
		f.Error(err)
	}
	if err := h.Resource(flunders).Namespace("ns").Delete(context.Background(), "none", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		f.Errorf("delete of what is not there: %v", err)
	}
}

// documents: legacy discovery and OpenAPI show the extension's group.
func (f *fixture) documents() {
	f.Helper()
	if _, text := f.get("/apis/wardle.example.com", "application/json"); !strings.Contains(text, `"preferredVersion":{"groupVersion":"wardle.example.com/v1alpha1","version":"v1alpha1"}`) {
		f.Errorf("group: %s", text)
	}
	if _, text := f.get("/", "application/json"); !strings.Contains(text, `"/apis/wardle.example.com"`) || !strings.Contains(text, `"`+groupVersion+`"`) {
		f.Errorf("paths: %s", text)
	}
	groups, err := f.cs.Discovery().ServerGroups()
	if err != nil {
		f.Fatal(err)
	}
	if last := groups.Groups[len(groups.Groups)-1]; last.Name != "wardle.example.com" {
		f.Errorf("the extension's group is not behind the built-in ones but %s is", last.Name)
	}
	f.until("OpenAPI names the extension", func() bool {
		_, text := f.get("/openapi/v3", "application/json")
		return strings.Contains(text, "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1")
	})
	if _, text := f.get("/openapi/v3/apis/wardle.example.com/v1alpha1?hash=1", "application/json"); !strings.Contains(text, "wardle") {
		f.Errorf("OpenAPI: %s", text)
	}
}

// TestTrust: with a caBundle the extension server must show a certificate for its service's name.
func TestTrust(t *testing.T) {
	f := setUp(t, true)
	f.serve()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.x.Certificate().Raw})
	f.register(func(s *apiregistrationv1.APIServiceSpec) { s.InsecureSkipTLSVerify, s.CABundle = false, ca })
	if c := f.condition("FailedDiscoveryCheck"); !strings.Contains(c.Message, "not api.wardle.svc") || !strings.HasPrefix(c.Message, "failing or missing response from https://192.0.2.10:8443"+groupVersion+": Get ") {
		t.Errorf("%+v", c)
	}
}

func TestValidation(t *testing.T) {
	f := setUp(t, true)
	s := &apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "wrong"}, Spec: apiregistrationv1.APIServiceSpec{Group: "g.example.com", Version: "v1"}}
	_, err := f.services.ApiregistrationV1().APIServices().Create(context.Background(), s, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "must be `spec.version+\".\"+spec.group`: \"v1.g.example.com\"") {
		t.Error(err)
	}
}
