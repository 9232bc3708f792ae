package authn

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/asn1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/features"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	"clipper/apiserver/feature"
	"clipper/pki"
)

func TestFrontProxy(t *testing.T) {
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := keys.FrontProxyCA.Issue(pki.ClientProfile("somebody"))
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{ClientCAs: keys.ClientCAs(), Proxy: NewFrontProxy(ProxyConfig{CAs: keys.FrontProxyCA.Pool(), AllowedNames: []string{pki.FrontProxyUser},
		UserHeaders: []string{"X-Remote-User"}, UIDHeaders: []string{"X-Remote-Uid"}, GroupHeaders: []string{"X-Remote-Group"}, ExtraPrefixes: []string{"X-Remote-Extra-"}})})
	said := http.Header{"X-Remote-User": {"ann"}, "X-Remote-Uid": {"7"}, "X-Remote-Group": {"a", "b"}, "X-Remote-Extra-Scopes%2fx": {"s"}}
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate
		header http.Header
		user   string // "" for 401
		groups []string
	}{
		{"proxy", &keys.FrontProxyClient, said, "ann", []string{"a", "b", "system:authenticated"}},
		{"proxy that names nobody", &keys.FrontProxyClient, http.Header{}, "", nil},
		{"another name of the same authority", &other, said, "", nil},
		{"a user who claims to be another", &keys.Admin, said, "kubernetes-admin", nil},
		{"a stranger who claims to be somebody", nil, said, "system:anonymous", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			req := &http.Request{Header: tt.header.Clone(), URL: &url.URL{Path: "/api"}}
			if tt.cert != nil {
				req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.cert.Leaf}}
			}
			resp, ok, err := a.AuthenticateRequest(req)
			if (tt.user == "") == ok {
				t.Fatalf("%v %v %v", resp, ok, err)
			}
			if !ok {
				return
			}
			if resp.User.GetName() != tt.user || tt.groups != nil && !slices.Equal(resp.User.GetGroups(), tt.groups) {
				t.Errorf("got %v", resp.User)
			}
			if tt.user == "ann" && (resp.User.GetUID() != "7" || resp.User.GetExtra()["scopes/x"][0] != "s") {
				t.Errorf("got %v", resp.User)
			}
			for name := range req.Header {
				if strings.HasPrefix(name, "X-Remote-") {
					t.Errorf("header %s goes on", name)
				}
			}
		})
	}
}

func TestAnonymousByPath(t *testing.T) {
	only := &apiserver.AnonymousAuthConfig{Enabled: true, Conditions: []apiserver.AnonymousAuthCondition{{Path: "/livez"}}}
	for _, tt := range []struct {
		config *apiserver.AnonymousAuthConfig
		path   string
		want   bool
	}{
		{nil, "/api", true}, {only, "/livez", true}, {only, "/livez/ping", false}, {only, "/api", false},
		{&apiserver.AnonymousAuthConfig{}, "/livez", false},
	} {
		_, ok, err := New(Config{Anonymous: tt.config}).AuthenticateRequest(&http.Request{Header: http.Header{}, URL: &url.URL{Path: tt.path}})
		if ok != tt.want || err != nil {
			t.Errorf("%+v %s: %v %v", tt.config, tt.path, ok, err)
		}
	}
}

func TestCertUID(t *testing.T) {
	attribute := func(values ...any) (out []pkix.AttributeTypeAndValue) {
		for _, v := range values {
			out = append(out, pkix.AttributeTypeAndValue{Type: asn1.X509UID(), Value: v})
		}
		return out
	}
	for _, tt := range []struct {
		names []pkix.AttributeTypeAndValue
		uid   string
		err   string
	}{
		{nil, "", ""}, {attribute("7"), "7", ""}, {attribute(""), "", "cannot be an empty string"},
		{attribute(7), "", "unable to parse"}, {attribute("7", "8"), "", "expected 1 UID, but found multiple: [7 8]"},
	} {
		u, err := certUser(&x509.Certificate{Subject: pkix.Name{CommonName: "ann", Names: tt.names}})
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v: %v", tt.names, err)
			}
			continue
		}
		if err != nil || u.GetUID() != tt.uid {
			t.Errorf("%v: %v %v", tt.names, u, err)
		}
	}
	if u, err := certUser(&x509.Certificate{}); u != nil || err != nil {
		t.Errorf("a certificate of nobody is %v, %v", u, err)
	}
}

// TestCertUIDUnread: without the feature whatever stands there is nobody's UID, and no fault.
func TestCertUIDUnread(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gate, features.AllowParsingUserUIDFromCertAuth, false)
	for _, value := range []any{"7", "", 7} {
		u, err := certUser(&x509.Certificate{Subject: pkix.Name{CommonName: "ann", Names: []pkix.AttributeTypeAndValue{{Type: asn1.X509UID(), Value: value}}}})
		if err != nil || u.GetUID() != "" {
			t.Errorf("%v: %v %v", value, u, err)
		}
	}
}

func FuzzStaticTokens(f *testing.F) {
	f.Add("token,ann,7,\"a,b\"\n,empty,1\n")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := parseStaticTokens(strings.NewReader(in))
		if err == nil && len(s) > strings.Count(in, ",") {
			t.Errorf("%q gave %d tokens", in, len(s))
		}
	})
}

func TestStaticTokens(t *testing.T) {
	s, err := parseStaticTokens(strings.NewReader("secret,ann,7,\"a,b\"\nother,bob,8\n"))
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := s.user("secret"); !ok || u.GetName() != "ann" || u.GetUID() != "7" || !slices.Equal(u.GetGroups(), []string{"a", "b"}) {
		t.Errorf("%v %v", u, ok)
	}
	if _, ok := s.user("other "); ok {
		t.Error("a token that is not there")
	}
	if _, err := parseStaticTokens(strings.NewReader("a,b\n")); err == nil {
		t.Error("a line that is too short is accepted")
	}
}

// TestTrust: other authorities count from the next request on, for clients as for proxies.
func TestTrust(t *testing.T) {
	authority := func() *pki.Cluster {
		keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	before, after := authority(), authority()
	proxy := NewFrontProxy(ProxyConfig{CAs: before.FrontProxyCA.Pool(), UserHeaders: []string{"X-Remote-User"}})
	a := New(Config{ClientCAs: before.ClientCAs(), Proxy: proxy})
	user := func(cert *tls.Certificate, header http.Header) string {
		req := &http.Request{Header: header.Clone(), URL: &url.URL{Path: "/api"}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}}
		if resp, ok, _ := a.AuthenticateRequest(req); ok {
			return resp.User.GetName()
		}
		return ""
	}
	check := func(trusted, other *pki.Cluster) {
		t.Helper()
		said := http.Header{"X-Remote-User": {"ann"}}
		for _, tt := range []struct{ got, want string }{
			{user(&trusted.Admin, http.Header{}), "kubernetes-admin"}, {user(&other.Admin, http.Header{}), ""},
			{user(&trusted.FrontProxyClient, said), "ann"}, {user(&other.FrontProxyClient, said), ""},
		} {
			if tt.got != tt.want {
				t.Errorf("%q, want %q", tt.got, tt.want)
			}
		}
	}
	check(before, after)
	a.TrustClients(after.ClientCAs())
	proxy.Trust(after.FrontProxyCA.Pool())
	check(after, before)
}

// TestProxyConfig: headers that are none, and UIDs that extension servers would not read, are refused in upstream's words.
func TestProxyConfig(t *testing.T) {
	for _, tt := range []struct {
		config ProxyConfig
		want   string
	}{
		{ProxyConfig{}, ""},
		{ProxyConfig{UIDHeaders: []string{"X-Uid", "x-remote-UID"}}, ""},
		{ProxyConfig{UIDHeaders: []string{"X-Uid"}}, "--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work"},
		{ProxyConfig{UIDHeaders: []string{"X-Remote-Uid", " "}}, `empty value in "requestheader-uid-headers"`},
		{ProxyConfig{UserHeaders: []string{""}}, `empty value in "requestheader-username-headers"`},
		{ProxyConfig{GroupHeaders: []string{""}}, `empty value in "requestheader-group-headers"`},
		{ProxyConfig{ExtraPrefixes: []string{""}}, `empty value in "requestheader-extra-headers-prefix"`},
		{ProxyConfig{AllowedNames: []string{"\t"}}, `empty value in "requestheader-allowed-names"`},
	} {
		if err := tt.config.Validate(); (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
			t.Errorf("%+v: %v, want %q", tt.config, err, tt.want)
		}
	}
}

// TestNoUID: where no header is named that has the UID, none is believed, and none goes on to who is behind the server.
func TestNoUID(t *testing.T) {
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Proxy: NewFrontProxy(ProxyConfig{CAs: keys.FrontProxyCA.Pool(), UserHeaders: []string{"X-Remote-User"}})})
	req := &http.Request{Header: http.Header{"X-Remote-User": {"ann"}, "X-Remote-Uid": {"7"}}, URL: &url.URL{Path: "/api"},
		TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{keys.FrontProxyClient.Leaf}}}
	resp, ok, err := a.AuthenticateRequest(req)
	if !ok || resp.User.GetName() != "ann" || resp.User.GetUID() != "" || len(req.Header) != 0 {
		t.Errorf("%+v %v %v, headers %v", resp, ok, err, req.Header)
	}
}
