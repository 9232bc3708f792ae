package aggregation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/streaming/pkg/httpstream"

	"clipper/apiserver/clientcert"
	"clipper/apiserver/tracing"
)

const (
	// Upstream's limits for asking an extension server on our own behalf, and for passing discovery on.
	askTimeout       = 5 * time.Second
	discoveryTimeout = 5 * time.Second
	maxAnswer        = 16 << 20
	idlePerHost      = 25
)

// aggregator is who asks an extension server on the API server's own behalf.
var aggregator = &user.DefaultInfo{Name: "system:kube-aggregator", Groups: []string{user.SystemPrivilegedGroup}}

// A resolver finds the address behind a service's port.
type resolver interface {
	ResolveEndpoint(namespace, name string, port int32) (*url.URL, error)
}

// A backend is the connection to the server behind an APIService's service.
type backend struct {
	namespace, name string
	port            int32
	resolver        resolver
	transport       *http.Transport
	err             error // why there is no transport
}

// newBackend prepares to speak with the server that spec names, showing identity as client certificate.
func newBackend(spec *apiregistrationv1.APIServiceSpec, identity clientcert.Identity, r resolver, dial dialFunc) *backend {
	b := &backend{namespace: spec.Service.Namespace, name: spec.Service.Name, port: servicePort(spec), resolver: r}
	c, err := transport.TLSConfigFor(&transport.Config{TLS: transport.TLSConfig{
		Insecure:   spec.InsecureSkipTLSVerify,
		ServerName: b.name + "." + b.namespace + ".svc",
		CAData:     spec.CABundle,
	}})
	if err != nil {
		b.err = err
		return b
	}
	c.GetClientCertificate = identity
	b.transport = utilnet.SetTransportDefaults(&http.Transport{
		TLSClientConfig: c, DialContext: dial, TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: idlePerHost,
	})
	return b
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// servicePort is the port of the service; older objects name none.
func servicePort(spec *apiregistrationv1.APIServiceSpec) int32 {
	if spec.Service.Port == nil {
		return 443
	}
	return *spec.Service.Port
}

func (b *backend) close() {
	if b != nil && b.transport != nil {
		b.transport.CloseIdleConnections()
	}
}

// ask requests path on the API server's own behalf. The body is bounded.
func (b *backend) ask(ctx context.Context, path string, header http.Header) (*answer, error) {
	if b.err != nil {
		return nil, b.err
	}
	to, err := b.resolver.ResolveEndpoint(b.namespace, b.name, b.port)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	to.Path = path
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		r.Header = header
	}
	transport.SetAuthProxyHeaders(r, aggregator.Name, "", aggregator.Groups, nil)
	a := &answer{from: to}
	res, err := b.transport.RoundTrip(r)
	if err != nil {
		if ctx.Err() != context.Canceled {
			b.close() // the next attempt takes a new connection
		}
		return nil, fmt.Errorf("failing or missing response from %v: %w", to, &url.Error{Op: "Get", URL: to.String(), Err: err})
	}
	defer res.Body.Close()
	a.code, a.header = res.StatusCode, res.Header
	var body bytes.Buffer
	if _, err := io.Copy(&body, io.LimitReader(res.Body, maxAnswer)); err != nil {
		return nil, fmt.Errorf("failing or missing response from %v: %w", to, err)
	}
	a.body = body.Bytes()
	return a, nil
}

// An answer is what an extension server said to the API server itself.
type answer struct {
	from   *url.URL
	code   int
	header http.Header
	body   []byte
}

// Serve passes a request of u on to the extension's server: what u is told is that server's answer.
func (e *Extension) Serve(w http.ResponseWriter, r *http.Request, u user.Info) {
	b := e.backend
	switch {
	case e.local != nil:
		e.local.ServeHTTP(w, r)
		return
	case !e.available:
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	case b.err != nil:
		http.Error(w, b.err.Error(), http.StatusInternalServerError)
		return
	}
	to, err := b.resolver.ResolveEndpoint(b.namespace, b.name, b.port)
	if err != nil {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	to.Path, to.RawQuery = r.URL.Path, r.URL.Query().Encode()
	ctx, cancel := r.Context(), context.CancelFunc(func() {})
	if r.URL.Path == e.Path() || r.URL.Path == e.Path()+"/" {
		ctx, cancel = context.WithTimeout(ctx, discoveryTimeout) // a server that hangs must not hold up kubectl's discovery
	}
	defer cancel()
	out := r.WithContext(ctx)
	out.Header, out.URL, out.Host = r.Header.Clone(), to, to.Host
	upgrade := httpstream.IsUpgradeRequest(r)
	if upgrade { // the connection is made without the round tripper below
		transport.SetAuthProxyHeaders(out, u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra())
	}
	through := transport.NewAuthProxyRoundTripper(u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra(), tracing.Outgoing(b.transport))
	h := proxy.NewUpgradeAwareHandler(to, through, true, upgrade, unavailable{})
	h.RejectForwardingRedirects = true // clients would follow with the credentials that they have for this server
	h.ServeHTTP(w, out)
}

// unavailable answers where the extension server does not.
type unavailable struct{}

func (unavailable) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
