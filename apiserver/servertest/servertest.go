// Package servertest starts a bare API server on the loopback interface for tests: the whole catalogue, a
// store on disk, HTTPS with HTTP/2, but no admission, no RBAC and none of the objects of a new cluster.
// Callers are who their bearer token says: any name is believed. (Package apiservertest starts a whole one.)
package servertest

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"clipper/api"
	"clipper/apiserver"
	"clipper/apiserver/aggregation"
	"clipper/apiserver/clientcert"
	"clipper/apiserver/customresource"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/served"
	"clipper/catalogue"
	"clipper/catalogue/all"
	"clipper/openapi"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
)

// AdminToken is the bearer token of a member of system:masters.
const AdminToken = "admin"

// Options change what a test server is made of. The zero value is fine.
type Options struct {
	// DeleteWorkers is how many objects of a collection are deleted at a time; 0: as by default.
	DeleteWorkers int
	Resources     []*catalogue.Resource // nil: all built-in ones
	Store         store.Options         // Codec is set
	Listen        string                // "" is any port of 127.0.0.1
	Server        func(*apiserver.Options)
	Dial          func(ctx context.Context, network, address string) (net.Conn, error) // to extension servers
	Pipeline      func(*pipeline.Pipeline)
}

// A Server is a running test server.
type Server struct {
	URL      string
	Config   *rest.Config // of the admin
	Store    *store.Store
	Pipeline *pipeline.Pipeline
	Live     *served.Live
	// Extensions are the extension servers that APIServices name.
	Extensions *aggregation.Controller

	stop  context.CancelFunc
	group *errgroup.Group
}

// Start starts a server whose data is in dir.
func Start(dir string, o Options) (*Server, error) {
	if o.Resources == nil {
		o.Resources = append(slices.Clip(all.Resources()), customresource.Definition(), aggregation.Definition())
	}
	table, err := served.NewTable(o.Resources)
	if err != nil {
		return nil, err
	}
	l, err := pebble.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	o.Store.Codec = codec.New(scheme.Scheme)
	if o.Store.Resources == nil {
		o.Store.Resources = map[string]api.Resource{}
		for _, r := range o.Resources {
			if r.Prefix != "" && r.Custom == nil {
				o.Store.Resources[r.Prefix] = r.Resource
			}
		}
	}
	st, err := store.Open(l, o.Store)
	if err != nil {
		return nil, err
	}
	s := &Server{Store: st, Live: served.NewLive(table)}
	s.Pipeline = pipeline.New(pipeline.Config{Store: st, Served: s.Live, TypeConverter: openapi.TypeConverter(), DeleteWorkers: o.DeleteWorkers})
	if o.Pipeline != nil {
		o.Pipeline(s.Pipeline)
	}
	return s, s.serve(o)
}

func (s *Server) serve(o Options) error {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return err
	}
	documents := openapi.New(func() []*catalogue.Resource { return s.Live.Table().Resources })
	so := apiserver.Options{
		Pipeline:  s.Pipeline,
		Authn:     tokens{},
		Authz:     authorizer.AuthorizerFunc(allowUnlessDenied),
		TLS:       &tls.Config{Certificates: []tls.Certificate{certificate()}, NextProtos: []string{"h2", "http/1.1"}},
		Listeners: []net.Listener{listener},
		Version:   version.Info{Major: "1", Minor: "36", GitVersion: "v1.36.3+clipper", Platform: "linux/amd64"},
		OpenAPI:   documents,
		Log:       slog.Default(),
	}
	client := inprocess.New(s.Pipeline, s.Live, s.Store, &user.DefaultInfo{Name: user.APIServerUser}, "clipper")
	s.Extensions = aggregation.New(aggregation.Config{Client: client, Identity: clientcert.Fixed(certificate()).Identity, Dial: o.Dial, Changed: documents.Invalidate})
	documents.Extend(s.Extensions.Documents)
	so.Extensions = s.Extensions.Directory
	so.Collectors = append(so.Collectors, s.Extensions)
	if o.Server != nil {
		o.Server(&so)
	}
	server := apiserver.New(so)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop, s.group = cancel, &errgroup.Group{}
	customs := customresource.New(customresource.Config{Client: client, Live: s.Live, Builtin: o.Resources, Changed: documents.Invalidate})
	s.group.Go(func() error { return customs.Run(ctx) })
	if s.Live.Table().Resource(aggregation.APIServices.Resource) != nil {
		s.group.Go(func() error { return s.Extensions.Run(ctx) })
	}
	s.group.Go(func() error { return server.Run(ctx) })
	server.SetReady(true)
	s.URL = "https://" + listener.Addr().String()
	s.Config = &rest.Config{Host: s.URL, BearerToken: AdminToken, QPS: -1, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	return nil
}

// Stop ends the server and closes its store.
func (s *Server) Stop() error {
	s.stop()
	err := s.group.Wait()
	if cerr := s.Store.Close(); err == nil {
		err = cerr
	}
	return err
}

// As returns the configuration of another user.
func (s *Server) As(name string) *rest.Config {
	c := rest.CopyConfig(s.Config)
	c.BearerToken = name
	return c
}

// certificate borrows the one that net/http/httptest carries.
func certificate() tls.Certificate {
	ts := httptest.NewUnstartedServer(http.NotFoundHandler())
	ts.StartTLS()
	defer ts.Close()
	return ts.TLS.Certificates[0]
}

// tokens believes every bearer token: it is the user's name.
type tokens struct{}

func (tokens) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok || name == "bad":
		return nil, false, fmt.Errorf("no such token")
	case name == AdminToken:
		return &authenticator.Response{User: &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}}, true, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}}, true, nil
}

// allowUnlessDenied lets everybody do everything, but for users whose names begin with "denied".
func allowUnlessDenied(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if strings.HasPrefix(a.GetUser().GetName(), "denied") {
		return authorizer.DecisionNoOpinion, "", nil
	}
	return authorizer.DecisionAllow, "", nil
}

// HTTPClient returns a client that speaks HTTP/1.1 or 2 with the server and checks no certificate.
func (s *Server) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // #nosec G402 -- a test server on loopback
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
}
