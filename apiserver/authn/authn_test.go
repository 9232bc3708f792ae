package authn

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authn/satoken"
	"clipper/pki"
)

func bootstrapSecret(change func(*corev1.Secret)) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"},
		Type:       BootstrapTokenType,
		Data: map[string][]byte{
			BootstrapTokenID: []byte("abcdef"), BootstrapTokenSecret: []byte("0123456789abcdef"),
			BootstrapTokenUsageAuth:   []byte("true"),
			BootstrapTokenExtraGroups: []byte("system:bootstrappers:kubeadm:default-node-token"),
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestAuthenticate(t *testing.T) {
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	node, err := keys.CA.Issue(pki.NodeProfile("n1"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := keys.FrontProxyCA.Issue(pki.ClientProfile("admin", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	c := &apitest.Client{}
	c.Add(api.Secrets.Resource, bootstrapSecret(nil))
	c.Add(api.ServiceAccounts.Resource, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "1"}})
	now := time.Now()
	saToken := signToken(t, keys.ServiceAccountKey, now)
	signer, err := satoken.NewSigner(satoken.Options{Key: keys.ServiceAccountKey})
	if err != nil {
		t.Fatal(err)
	}

	static := StaticTokens{}
	static.Add("letmein", &user.DefaultInfo{Name: "root", Groups: []string{"g"}})
	for _, tt := range []struct {
		name   string
		cert   *tls.Certificate
		header http.Header
		at     time.Time
		user   string // "" for 401
		groups []string
	}{
		{name: "nothing shown", user: "system:anonymous", groups: []string{"system:unauthenticated"}},
		{name: "basic auth counts as nothing", header: http.Header{"Authorization": {"Basic eDp5"}}, user: "system:anonymous"},
		{name: "admin", cert: &keys.Admin, user: "kubernetes-admin", groups: []string{"system:masters", "system:authenticated"}},
		{name: "node", cert: &node, user: "system:node:n1", groups: []string{"system:nodes", "system:authenticated"}},
		{name: "another authority", cert: &stranger},
		{name: "expired certificate", cert: &node, at: now.Add(2 * 365 * 24 * time.Hour)},
		{name: "serving certificate", cert: &keys.Serving},
		{name: "static", header: bearer("letmein"), user: "root", groups: []string{"g", "system:authenticated"}},
		{name: "unknown token", header: bearer("letmeout")},
		{name: "service account", header: bearer(saToken), user: "system:serviceaccount:ns:robot",
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"}},
		{name: "expired service account token", header: bearer(saToken), at: now.Add(2 * time.Hour)},
		{name: "bootstrap", header: bearer("abcdef.0123456789abcdef"), user: "system:bootstrap:abcdef",
			groups: []string{"system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"}},
		{name: "wrong bootstrap secret", header: bearer("abcdef.0123456789abcdee")},
		{name: "bad certificate, good token", cert: &stranger, header: bearer("letmein"), user: "root"},
		{name: "what follows a token", header: bearer("letmein trailing"), user: "root"},
		{name: "space before a token", header: bearer(" letmein"), user: "system:anonymous"},
		{name: "websocket", header: socket("v5.channel.k8s.io, ", "letmein"), user: "root"},
		{name: "websocket, by a connection that stays as it is", header: http.Header{"Upgrade": {"websocket"}, "Sec-Websocket-Protocol": socket("a, ", "letmein")["Sec-Websocket-Protocol"]}, user: "system:anonymous"},
		{name: "websocket with the token alone", header: socket("", "letmein")},
		{name: "websocket with two tokens", header: socket(websocketTokenPrefix+"eA, ", "letmein")},
		{name: "websocket with half a token", header: socket("a, "+websocketTokenPrefix+"!", "")},
		{name: "websocket with an unknown token", header: socket("a, ", "letmeout")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clock := func() time.Time {
				if tt.at.IsZero() {
					return now
				}
				return tt.at
			}
			a := New(Config{ClientCAs: keys.ClientCAs(), Tokens: satoken.NewChecker(signer, c, clock), Client: c,
				Static: static, Now: clock})
			for range 2 { // the second time from the caches
				req := &http.Request{Header: tt.header.Clone(), URL: &url.URL{Path: "/api"}}
				if tt.cert != nil {
					req.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{tt.cert.Leaf}}
				}
				resp, ok, err := a.AuthenticateRequest(req)
				if tt.user == "" {
					if ok || err == nil {
						t.Fatalf("accepted as %v", resp)
					}
					continue
				}
				if err != nil || !ok {
					t.Fatalf("refused: %v", err)
				}
				if resp.User.GetName() != tt.user || (tt.groups != nil && !slices.Equal(resp.User.GetGroups(), tt.groups)) {
					t.Errorf("got %v %v", resp.User.GetName(), resp.User.GetGroups())
				}
				if p := req.Header.Get("Sec-Websocket-Protocol"); tt.user == "root" && strings.Contains(p, "bearer") {
					t.Errorf("the token is still in the header: %s", p)
				}
			}
		})
	}
}

func TestBootstrapTokenFaults(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		name   string
		change func(*corev1.Secret)
		err    string
	}{
		{"good", nil, ""},
		{"not yet expired", func(s *corev1.Secret) { s.Data[BootstrapTokenExpiration] = []byte("2026-01-01T00:00:01Z") }, ""},
		{"expired", func(s *corev1.Secret) { s.Data[BootstrapTokenExpiration] = []byte("2025-12-31T23:59:59Z") }, "expired"},
		{"unreadable expiration", func(s *corev1.Secret) { s.Data[BootstrapTokenExpiration] = []byte("soon") }, "expired"},
		{"opaque", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }, "type"},
		{"not for authentication", func(s *corev1.Secret) { delete(s.Data, BootstrapTokenUsageAuth) }, "not for authentication"},
		{"grasping group", func(s *corev1.Secret) { s.Data[BootstrapTokenExtraGroups] = []byte("system:masters") }, "system:masters"},
		{"other id", func(s *corev1.Secret) { s.Data[BootstrapTokenID] = []byte("fedcba") }, "token-id"},
		{"no secret", func(s *corev1.Secret) { delete(s.Data, BootstrapTokenSecret) }, "wrong secret"},
		{"being deleted", func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: now} }, "deleted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := checkBootstrapSecret(bootstrapSecret(tt.change), "abcdef", "0123456789abcdef", now)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

func FuzzSplitBootstrapToken(f *testing.F) {
	f.Add("abcdef.0123456789abcdef")
	f.Add("abcdef.")
	f.Fuzz(func(t *testing.T, in string) {
		id, secret, ok := SplitBootstrapToken(in)
		if ok && (id+"."+secret != in || strings.ContainsAny(id+secret, "/. \n")) {
			t.Errorf("%q was split into %q and %q", in, id, secret)
		}
	})
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// socket is the header of a WebSocket that offers protocols and a token.
func socket(protocols, token string) http.Header {
	return http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Protocol": {protocols + websocketTokenPrefix + base64.RawURLEncoding.EncodeToString([]byte(token))}}
}

func signToken(t *testing.T, key crypto.Signer, now time.Time) string {
	t.Helper()
	s, err := satoken.NewSigner(satoken.Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	token, _, _, err := s.Sign(t.Context(), satoken.Binding{Life: time.Hour,
		ServiceAccount: &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "1"}}}, now)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
