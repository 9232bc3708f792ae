// Package apiservertest starts a whole API server for a test: store, pipeline, admission, authentication,
// authorization, the objects of a new cluster and the certificate controller, behind HTTPS on a loopback
// port.
package apiservertest

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"clipper/api"
	"clipper/apiserver"
	admissionall "clipper/apiserver/admission/all"
	"clipper/apiserver/aggregation"
	"clipper/apiserver/allocate"
	"clipper/apiserver/authn"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/authz"
	"clipper/apiserver/bootstrap"
	"clipper/apiserver/inprocess"
	"clipper/apiserver/pipeline"
	"clipper/apiserver/reviews"
	"clipper/apiserver/served"
	"clipper/catalogue/all"
	"clipper/controllers/certificates"
	"clipper/controllers/clusterrole"
	"clipper/controllers/namespace"
	"clipper/controllers/rootca"
	"clipper/controllers/serviceaccount"
	"clipper/controllers/servicecidr"
	"clipper/controllers/tokensecret"
	"clipper/pki"
	"clipper/store"
	"clipper/store/codec"
	"clipper/store/log/pebble"
)

// A Server is a running API server.
type Server struct {
	URL    string
	Keys   *pki.Cluster
	Client *inprocess.Client // as the API server itself
	Signer *satoken.Signer
}

// Admin acts as the cluster's administrator.
func (s *Server) Admin(t testing.TB) *rest.Config {
	t.Helper()
	certPEM, keyPEM, err := pki.EncodePair(s.Keys.Admin)
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: s.URL, TLSClientConfig: rest.TLSClientConfig{CAData: s.Keys.CA.CertPEM, CertData: certPEM, KeyData: keyPEM}}
}

// Bearer acts with a token; "" is anonymous.
func (s *Server) Bearer(token string) *rest.Config {
	return &rest.Config{Host: s.URL, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{CAData: s.Keys.CA.CertPEM}}
}

// Start starts a server that stops when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, admissionall.Options{})
}

// StartWith is Start with other admission plug-ins.
func StartWith(t testing.TB, o admissionall.Options) *Server {
	t.Helper()
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{URL: "https://" + l.Addr().String(), Keys: keys}
	ctx, cancel := context.WithCancel(context.Background())
	group, ctx := errgroup.WithContext(ctx)
	s.run(t, ctx, group, l, o)
	t.Cleanup(func() {
		cancel()
		if err := group.Wait(); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	return s
}

func (s *Server) run(t testing.TB, ctx context.Context, group *errgroup.Group, l net.Listener, o admissionall.Options) {
	st := openStore(t)
	table, err := served.NewTable(all.Resources())
	if err != nil {
		t.Fatal(err)
	}
	live := served.NewLive(table)
	p := pipeline.New(pipeline.Config{Store: st, Served: live})
	s.Client = inprocess.New(p, live, st, &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}, "test")
	if s.Signer, err = satoken.NewSigner(satoken.Options{Key: s.Keys.ServiceAccountKey}); err != nil {
		t.Fatal(err)
	}
	az := authz.New(s.Client)
	an := authn.New(authn.Config{ClientCAs: s.Keys.ClientCAs(), Tokens: satoken.NewChecker(s.Signer, s.Client, time.Now),
		Client: s.Client, Audiences: []string{s.Signer.Issuer()}})
	alloc := allocate.New(s.Client, allocate.Config{})
	chain, err := admissionall.New(s.Client, az, alloc, o)
	if err != nil {
		t.Fatal(err)
	}
	p.Admit(chain)
	p.Follow(api.Services.Resource.GroupResource(), servicecidr.NewAddresses(s.Client).Follow)
	for gr, creater := range reviews.Creaters(reviews.Config{Client: s.Client, Authorizer: az, Tokens: an, Signer: s.Signer}) {
		p.Handle(gr, creater)
	}
	srv := apiserver.New(apiserver.Options{Pipeline: p, Authn: an, Authz: az, Listeners: []net.Listener{l}, Version: apiserver.Version(),
		TLS: &tls.Config{Certificates: []tls.Certificate{s.Keys.Serving}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}})
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	err = bootstrap.Run(ctx, s.Client, bootstrap.Config{ServiceIP: netip.MustParseAddr("10.96.0.1"), Advertise: netip.MustParseAddr("192.0.2.1"), AdvertisePort: int(addr.Port()),
		ServerURL: s.URL, CA: s.Keys.CA.CertPEM, FrontProxyCA: s.Keys.FrontProxyCA.CertPEM, FrontProxy: pki.FrontProxyUser})
	if err != nil {
		t.Fatal(err)
	}
	srv.SetReady(true)
	held, err := aggregation.New(aggregation.Config{Client: s.Client}).Held(&user.DefaultInfo{Name: "test"}) // nothing: it does not run
	if err != nil {
		t.Fatal(err)
	}
	services := netip.MustParsePrefix("10.96.0.0/16")
	for _, run := range []func(context.Context) error{
		srv.Run, alloc.Run,
		certificates.New(s.Client, az, s.Keys.CA, certificates.Reserved{Services: []netip.Prefix{services}}).Run,
		serviceaccount.New(s.Client).Run, rootca.New(s.Client, s.Keys.CA.CertPEM).Run, clusterrole.New(s.Client).Run,
		namespace.New(s.Client, s.Client.Resources, held).Run, tokensecret.New(s.Client, s.Signer, s.Keys.CA.CertPEM).Run,
	} {
		group.Go(func() error { return run(ctx) })
	}
}

func openStore(t testing.TB) *store.Store {
	log, err := pebble.Open("store", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	prefixes := map[string]api.Resource{}
	for _, r := range all.Resources() {
		if r.Prefix != "" {
			prefixes[r.Prefix] = r.Resource
		}
	}
	st, err := store.Open(log, store.Options{Codec: codec.New(scheme.Scheme), Resources: prefixes, CheckMutation: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // runs after the server has stopped: it was registered before
		if err := st.Verify(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}
