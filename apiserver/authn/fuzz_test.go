package authn

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/websocket"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"

	"clipper/pki"
)

// warned remembers warnings.
type warned []string

func (w *warned) AddWarning(_, text string) { *w = append(*w, text) }

// FuzzToken: a request's headers show the tokens, in the order and with the faults and warnings, that upstream's
// authenticators see in them.
func FuzzToken(f *testing.F) {
	f.Add("Bearer good", "", "", "")
	f.Add("bearer  good", "upgrade", "websocket", "a,base64url.bearer.authorization.k8s.io.Z29vZA")
	f.Add(" BEARER bad good", "keep-alive, Upgrade", "WebSocket", "base64url.bearer.authorization.k8s.io.Z29vZA , v4.channel.k8s.io")
	f.Add("Basic eDp5", "Upgrade", "websocket", "base64url.bearer.authorization.k8s.io.Z29vZA,base64url.bearer.authorization.k8s.io.YmFk,a")
	f.Add("", "Upgrade", "websocket", "base64url.bearer.authorization.k8s.io.Z29vZA")
	f.Add("", "Upgrade", "websocket", "base64url.bearer.authorization.k8s.io.Z29vZA==,a")
	f.Add("", "Upgrade", "websocket", "base64url.bearer.authorization.k8s.io._w,a")
	f.Add("", "Upgrade", "websocket", "base64url.bearer.authorization.k8s.io.,")
	f.Add("", "Upgrade", "SPDY/3.1", "a,base64url.bearer.authorization.k8s.io.Z29vZA")
	f.Fuzz(func(t *testing.T, authorization, connection, upgrade, protocols string) {
		var asked []string
		known := authenticator.TokenFunc(func(_ context.Context, token string) (*authenticator.Response, bool, error) {
			asked = append(asked, token)
			return &authenticator.Response{User: &user.DefaultInfo{Name: "ann", Groups: []string{user.AllAuthenticated}}}, token == "good", nil
		})
		type outcome struct {
			name      string
			failed    bool
			asked     []string
			warned    warned
			protocols []string
		}
		ask := func(a authenticator.Request) (out outcome) {
			asked = nil
			r := &http.Request{Header: http.Header{"Authorization": {authorization}, "Connection": {connection}, "Upgrade": {upgrade}}, URL: &url.URL{Path: "/"}}
			r.Header[websocketProtocols] = slices.Collect(strings.SplitSeq(protocols, "\n"))
			r = r.WithContext(warning.WithWarningRecorder(t.Context(), &out.warned))
			resp, ok, err := a.AuthenticateRequest(r)
			out.failed = err != nil
			if ok {
				out.name = resp.User.GetName()
			}
			out.asked, out.protocols = asked, r.Header[websocketProtocols]
			return out
		}
		want := ask(union.New(bearertoken.New(known), websocket.NewProtocolAuthenticator(known)))
		if want.name == "" && !want.failed {
			want.name = user.Anonymous
		}
		if got := ask(New(Config{More: []authenticator.Token{known}})); !reflect.DeepEqual(got, want) {
			t.Errorf("%q, %q, %q, %q:\n%+v, upstream\n%+v", authorization, connection, upgrade, protocols, got, want)
		}
	})
}

// FuzzFrontProxy: a proxy's headers name the user that they name upstream, and no claim goes on, whoever made it.
func FuzzFrontProxy(f *testing.F) {
	for _, text := range []string{
		"X-Remote-User: ann\nX-Remote-Uid: 7\nX-Remote-Group: a\nx-remote-group: b\nX-Remote-Extra-Acme%2fTeam: x\n",
		"X-Remote-User:\nX-Other-User: bob\nX-Remote-Extra-%zz: 1\nX-REMOTE-EXTRA-%ZZ: 2\nX-Remote-Extra-: 3\n",
		"X-Remote-Group: system:masters\nx-other-%: y\nAuthorization: Basic x\n", "X-Remote-User: \xff\n",
	} {
		f.Add([]byte(text), true)
		f.Add([]byte(text), false)
	}
	keys, err := pki.LoadOrCreate(f.TempDir(), pki.Options{})
	if err != nil {
		f.Fatal(err)
	}
	names, uids, groups, extras := headerrequest.StaticStringSlice{"X-Remote-User", "x-other-user"}, headerrequest.StaticStringSlice{"X-Remote-Uid"},
		headerrequest.StaticStringSlice{"x-remote-group", "X-Roles"}, headerrequest.StaticStringSlice{"X-Remote-Extra-", "x-other-"}
	ours := New(Config{Proxy: NewFrontProxy(ProxyConfig{CAs: keys.FrontProxyCA.Pool(), UserHeaders: names, UIDHeaders: uids, GroupHeaders: groups, ExtraPrefixes: extras})})
	library, err := headerrequest.New(names, uids, groups, extras)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte, proxy bool) {
		fields, err := textproto.NewReader(bufio.NewReader(strings.NewReader(string(text) + "\n\n"))).ReadMIMEHeader()
		if err != nil {
			return
		}
		ask := func(a authenticator.Request) (user.Info, http.Header) {
			r := &http.Request{Header: http.Header(fields).Clone(), URL: &url.URL{Path: "/"}}
			if proxy {
				r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{keys.FrontProxyClient.Leaf}}
			}
			resp, ok, err := a.AuthenticateRequest(r)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return nil, r.Header
			}
			return resp.User, r.Header
		}
		theirs, left := ask(library)
		if theirs == nil || !proxy {
			theirs = anonymous.User
		}
		got, after := ask(ours)
		if !reflect.DeepEqual(withoutOrder(got), withoutOrder(theirs)) {
			t.Errorf("%q: %+v, upstream %+v", text, got, theirs)
		}
		headerrequest.ClearAuthenticationHeaders(left, names, uids, groups, extras)
		left.Del("Authorization")
		if !reflect.DeepEqual(after, left) {
			t.Errorf("%q: %v goes on, upstream %v", text, after, left)
		}
	})
}

// withoutOrder is u without the order of values of headers that mean the same key, for which nobody answers, and without
// the group that says no more than that somebody is known.
func withoutOrder(u user.Info) user.DefaultInfo {
	out := user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Extra: map[string][]string{}}
	for key, values := range u.GetExtra() {
		out.Extra[key] = slices.Sorted(slices.Values(values))
	}
	for _, group := range u.GetGroups() {
		if group != user.AllAuthenticated {
			out.Groups = append(out.Groups, group)
		}
	}
	return out
}

// FuzzWebhook: a kubeconfig of the server that is asked about tokens is one in every version of the question, or none.
func FuzzWebhook(f *testing.F) {
	const cluster = "clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\n"
	for _, text := range []string{
		cluster + "users: [{name: u, user: {token: t}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
		cluster + "users: [{name: u, user: {client-certificate: cert, client-key: key}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
		cluster + "users: [{name: u, user: {client-certificate-data: eA==, client-key-data: eA==, username: a, password: b}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
		cluster + "users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: none, interactiveMode: Never}}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n",
		"clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1', proxy-url: 'socks5://127.0.0.1:1', certificate-authority-data: eA==, tls-server-name: x}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n",
		"apiVersion: v1\nkind: Config\n", "current-context: nowhere\n", "kind: Pod\napiVersion: v1\n", "clusters: &a [*a]", "\xff", "",
	} {
		f.Add([]byte(text))
	}
	file := filepath.Join(f.TempDir(), "kubeconfig")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		var taken []bool
		for _, version := range []string{"v1", "v1beta1"} {
			hook, err := NewWebhook(WebhookConfig{File: file, Version: version}, nil)
			if (err == nil) != (hook != nil) {
				t.Errorf("%q: %v, %v", text, hook, err)
			}
			taken = append(taken, err == nil)
		}
		if taken[0] != taken[1] {
			t.Errorf("%q: taken %v", text, taken)
		}
	})
}
