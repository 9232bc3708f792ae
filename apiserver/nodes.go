package apiserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"

	"clipper/api"
	"clipper/apiserver/egress"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/resolve"
	"clipper/streamguard"
)

// A nodeProxy reaches node agents, pods and services.
type nodeProxy struct {
	transport  *http.Transport // shows the server's client certificate
	translated *http.Transport // speaks TLS itself, to what looks like HTTP: for streams that are translated, whose frames are guarded
	unverified *http.Transport // the same as transport, to nodes that need not show who they are: for logs alone, and if asked for
	plain      *http.Transport // for pods and services, which have no certificate that we could know
	addresses  resolve.Preference
}

const (
	dialTimeout  = 10 * time.Second
	nodeIdle     = 30 * time.Second
	podProxyIdle = 10
)

func newNodeProxy(o Options) nodeProxy {
	dial := o.DialNode
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	secure := o.NodeTLS
	if secure == nil {
		secure = &tls.Config{}
	}
	secure = secure.Clone()
	secure.NextProtos = []string{"http/1.1"} // upgrades need it
	limit := o.NodeTimeout
	if limit <= 0 {
		limit = dialTimeout
	}
	unverified := secure.Clone()
	unverified.InsecureSkipVerify, unverified.RootCAs = true, nil
	return nodeProxy{
		addresses:  o.NodeAddresses,
		transport:  &http.Transport{DialContext: within(limit, dial), TLSClientConfig: secure, TLSHandshakeTimeout: limit, IdleConnTimeout: nodeIdle},
		translated: &http.Transport{DialContext: within(limit, guarded(dial, secure)), IdleConnTimeout: nodeIdle},
		unverified: &http.Transport{DialContext: within(limit, dial), TLSClientConfig: unverified, TLSHandshakeTimeout: limit, IdleConnTimeout: nodeIdle},
		plain: &http.Transport{DialContext: dial, IdleConnTimeout: nodeIdle, MaxIdleConnsPerHost: podProxyIdle,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // #nosec G402 -- as upstream: a pod's own certificate
	}
}

// within bounds how long dial takes.
func within(limit time.Duration, dial egress.Dial) egress.Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// guarded dials a node and guards what it sends.
func guarded(dial egress.Dial, secure *tls.Config) egress.Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		plain, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		config := secure
		if host, _, err := net.SplitHostPort(address); err == nil && config.ServerName == "" {
			config = config.Clone()
			config.ServerName = host
		}
		c := tls.Client(plain, config)
		if err := c.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, plain.Close())
		}
		return streamguard.New(c), nil
	}
}

// base returns where the agent of a node listens.
func (n *nodeProxy) base(p *pipeline.Pipeline, name string) (*url.URL, error) {
	nodes := p.Table().Resource(api.Nodes.Resource)
	if nodes == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("nodes are not served"))
	}
	item, err := p.Get(context.Background(), &pipeline.Request{Resource: nodes, Name: name})
	if err != nil {
		return nil, err
	}
	return n.addresses.Agent(item.Object.(*corev1.Node))
}

// splitTarget reads [scheme:]name[:port] as a proxy path has it.
func splitTarget(s string) (scheme, name, port string, ok bool) {
	parts := strings.Split(s, ":")
	switch len(parts) {
	case 1:
		return "", parts[0], "", parts[0] != ""
	case 2:
		return "", parts[0], parts[1], parts[0] != ""
	case 3:
		return parts[0], parts[1], parts[2], (parts[0] == "http" || parts[0] == "https" || parts[0] == "") && parts[1] != ""
	}
	return "", "", "", false
}

// proxy passes an HTTP request on to a pod, service or node; the options of all three are alike.
func (q *request) proxy(o *corev1.PodProxyOptions) error {
	scheme, name, port, ok := splitTarget(q.info.Name)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q", strings.TrimSuffix(q.info.Resource, "s"), q.info.Name))
	}
	if scheme == "" {
		scheme = "http"
	}
	req := q.pipelineRequest()
	req.Name = name
	transport := q.s.nodes.plain
	location := &url.URL{Scheme: scheme}
	var err error
	switch q.info.Resource {
	case "nodes":
		location, err = q.s.nodes.base(q.s.pipeline, name)
		if err == nil {
			err = proxied(location.Hostname())
		}
		transport = q.s.nodes.transport
		if err == nil && port != "" && port != location.Port() {
			location = &url.URL{Scheme: scheme, Host: net.JoinHostPort(location.Hostname(), port)}
			transport = q.s.nodes.plain
		}
	case "pods":
		location.Host, err = q.podAddress(req, port)
	default:
		location.Host, location.Scheme, err = q.serviceAddress(req, port, scheme)
	}
	if err != nil {
		return err
	}
	location.Path = utilnet.JoinPreservingTrailingSlash(location.Path, o.Path)
	location.RawQuery = q.r.URL.RawQuery
	ctx, done := q.longRunning(0)
	defer done()
	rewriting := &proxy.Transport{
		// Links are rewritten to paths without a host, whatever name the client used for us: so does upstream.
		Scheme: q.r.URL.Scheme, Host: q.r.URL.Host, RoundTripper: transport,
		PathPrepend: strings.TrimSuffix(strings.TrimSuffix(q.info.Path, "/"), strings.TrimSuffix(q.info.Rest, "/")),
	}
	h := proxy.NewUpgradeAwareHandler(location, rewriting, false, false, responder{q})
	h.UpgradeTransport = proxy.NewUpgradeRequestRoundTripper(transport, proxy.MirrorRequest)
	h.UseLocationHost = false
	h.MaxBytesPerSec = q.s.limits.StreamRate
	rec := &codeRecorder{ResponseWriter: q.w}
	h.ServeHTTP(hijackable{rec}, q.r.WithContext(ctx))
	if rec.code != 0 {
		q.code, q.wrote = rec.code, true
	}
	return nil
}

// hijackable lets the proxy library take over the connection.
type hijackable struct{ *codeRecorder }

// Hijack implements http.Hijacker.
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

func (q *request) podAddress(req *pipeline.Request, port string) (string, error) {
	item, err := q.s.pipeline.Get(q.r.Context(), req)
	if err != nil {
		return "", err
	}
	pod := item.Object.(*corev1.Pod)
	if port == "" && len(pod.Spec.Containers) > 0 {
		for _, c := range pod.Spec.Containers {
			if len(c.Ports) > 0 {
				port = strconv.Itoa(int(c.Ports[0].ContainerPort))
				break
			}
		}
	}
	ip := ""
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	switch err := proxied(ip); {
	case err != nil:
		return "", err
	case port != "":
		return net.JoinHostPort(ip, port), nil
	case strings.Contains(ip, ":"):
		return "[" + ip + "]", nil
	}
	return ip, nil
}

// proxied refuses addresses that a client must not have the server call: its own, the link's, none at all.
func proxied(host string) error {
	if ip := net.ParseIP(host); ip == nil || !ip.IsGlobalUnicast() {
		return apierrors.NewBadRequest("address not allowed")
	}
	return nil
}

// serviceAddress picks a ready endpoint of a service's port.
func (q *request) serviceAddress(req *pipeline.Request, port, scheme string) (host, outScheme string, err error) {
	item, err := q.s.pipeline.Get(q.r.Context(), req)
	if err != nil {
		return "", "", err
	}
	svc := item.Object.(*corev1.Service)
	name, found := servicePort(svc, port)
	if !found {
		return "", "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %s found for service %q", port, svc.Name))
	}
	hosts := q.endpoints(svc, name)
	switch {
	case len(hosts) == 0 && !q.hasEndpoints(svc): // upstream names the service, all the same
		return "", "", apierrors.NewNotFound(corev1.Resource("services"), svc.Name)
	case len(hosts) == 0:
		return "", "", apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", svc.Name))
	}
	return hosts[rand.IntN(len(hosts))], scheme, nil
}

// servicePort turns the port that a path gives by number into its name. A name stays what it is, even where the
// service has none such: its endpoints will tell.
func servicePort(svc *corev1.Service, port string) (name string, ok bool) {
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return port, true
	}
	for _, p := range svc.Spec.Ports {
		if int64(p.Port) == number {
			return p.Name, true
		}
	}
	return "", false
}
