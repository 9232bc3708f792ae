package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apimachinery/pkg/api/equality"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/component-base/metrics/legacyregistry"

	"clipper/apiserver/configfile/configfiletest"
)

// A provider is an OpenID provider with one key.
type provider struct {
	*httptest.Server
	signer jose.Signer
}

func newProvider(t testing.TB) *provider {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	jwk := jose.JSONWebKey{Key: key, KeyID: "k", Algorithm: "ES256", Use: "sig"}
	p := &provider{}
	if p.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jwk}, nil); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/auth",
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{jwk.Public()}})
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ca() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
}

func (p *provider) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"iss": p.URL, "aud": "clipper", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	token, err := jwt.Signed(p.signer).Claims(all).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// await asks until the provider's keys have been fetched, which happens in the background.
func await(t testing.TB, a *Authenticator) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		healthy := true
		for _, check := range a.current.Load().checks {
			healthy = healthy && check() == nil
		}
		if healthy {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the provider's keys were not fetched")
		}
	}
}

func file(t testing.TB, p *provider, rest string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authn.yaml")
	writeConfig(t, path, p, rest)
	return path
}

func writeConfig(t testing.TB, path string, p *provider, rest string) {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: " + p.URL + "\n    audiences: [clipper]\n    certificateAuthority: |\n      " +
		strings.ReplaceAll(strings.TrimSpace(p.ca()), "\n", "\n      ") + "\n" + rest
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	p := newProvider(t)
	a, err := New(t.Context(), Options{Audiences: []string{"api"}, File: file(t, p, `
  claimMappings:
    username: {expression: '"oidc:" + claims.sub'}
    groups: {expression: 'claims.roles'}
    extra: [{key: example.org/team, valueExpression: claims.team}]
  claimValidationRules:
  - {expression: 'claims.team != "evil"', message: no evil team}
`)})
	if err != nil {
		t.Fatal(err)
	}
	await(t, a)
	claims := map[string]any{"roles": []string{"a", "b"}, "team": "blue"}
	resp, ok, err := a.AuthenticateToken(t.Context(), p.token(t, claims))
	if err != nil || !ok || resp.User.GetName() != "oidc:ann" || !slices.Equal(resp.User.GetGroups(), []string{"a", "b"}) || resp.User.GetExtra()["example.org/team"][0] != "blue" {
		t.Fatalf("%+v %v %v", resp, ok, err)
	}
	for name, change := range map[string]map[string]any{
		"audience": {"aud": "other"}, "expired": {"exp": time.Now().Add(-time.Hour).Unix()}, "rule": {"team": "evil"},
	} {
		all := map[string]any{"roles": []string{"a"}, "team": "blue"}
		for k, v := range change {
			all[k] = v
		}
		if _, ok, err := a.AuthenticateToken(t.Context(), p.token(t, all)); ok || err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, ok, err := a.AuthenticateToken(t.Context(), newProvider(t).token(t, claims)); ok || err != nil {
		t.Errorf("a token of another issuer: %v %v; another authenticator might know it", ok, err)
	}
}

// TestKeysInMetrics: which keys were fetched is told for this server, not for all of them under one name.
func TestKeysInMetrics(t *testing.T) {
	p := newProvider(t)
	a, err := New(t.Context(), Options{Audiences: []string{"api"}, Server: "server-1", File: file(t, p, "  claimMappings:\n    username: {claim: sub, prefix: ''}\n")})
	if err != nil {
		t.Fatal(err)
	}
	await(t, a)
	if _, ok, err := a.AuthenticateToken(t.Context(), p.token(t, nil)); !ok { // keys are fetched when they are needed
		t.Fatal(err)
	}
	text := httptest.NewRecorder()
	legacyregistry.Handler().ServeHTTP(text, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	want := fmt.Sprintf(`apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info{apiserver_id_hash="sha256:%x",`, sha256.Sum256([]byte("server-1")))
	if !strings.Contains(text.Body.String(), want) {
		t.Errorf("no %s in\n%s", want, text.Body.String())
	}
}

func TestFlags(t *testing.T) {
	p := newProvider(t)
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(p.ca()), 0o600); err != nil {
		t.Fatal(err)
	}
	base := Flags{IssuerURL: p.URL, ClientID: "clipper", CAFile: ca, SigningAlgs: []string{"ES256"}}
	for _, tt := range []struct {
		name   string
		change func(*Flags)
		claims map[string]any
		user   string // "" for refused
	}{
		{"default", func(*Flags) {}, nil, p.URL + "#ann"},
		{"prefix", func(f *Flags) { f.UsernamePrefix = "x:" }, nil, "x:ann"},
		{"no prefix", func(f *Flags) { f.UsernamePrefix = "-" }, nil, "ann"},
		{"email", func(f *Flags) { f.UsernameClaim = "email" }, map[string]any{"email": "a@b", "email_verified": true}, "a@b"},
		{"required claim", func(f *Flags) { f.RequiredClaims = map[string]string{"hd": "b"} }, map[string]any{"hd": "c"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := base
			tt.change(&f)
			a, err := New(t.Context(), Options{Flags: f, Audiences: []string{"api"}})
			if err != nil {
				t.Fatal(err)
			}
			await(t, a)
			resp, ok, err := a.AuthenticateToken(t.Context(), p.token(t, tt.claims))
			if ok != (tt.user != "") || ok && resp.User.GetName() != tt.user {
				t.Errorf("%+v %v %v", resp, ok, err)
			}
		})
	}
}

func TestReload(t *testing.T) {
	p := newProvider(t)
	const one, two = "  claimMappings: {username: {claim: sub, prefix: 'one:'}}\n", "  claimMappings: {username: {claim: sub, prefix: 'two:'}}\n"
	path := file(t, p, one)
	a, err := New(t.Context(), Options{Audiences: []string{"api"}, File: path})
	if err != nil {
		t.Fatal(err)
	}
	await(t, a)
	token := p.token(t, nil)
	name := func() string {
		resp, ok, err := a.AuthenticateToken(t.Context(), token)
		if !ok {
			t.Fatal(err)
		}
		return resp.User.GetName()
	}
	for _, bad := range []string{"  claimMappings: {}\n", "  nonsense: 1\n", one + "anonymous: {enabled: false}\n"} {
		writeConfig(t, path, p, bad)
		if err := a.reload(t.Context()); err == nil || name() != "one:ann" {
			t.Errorf("%q: %v, %s", bad, err, name())
		}
	}
	writeConfig(t, path, p, two)
	if err := a.reload(t.Context()); err != nil || name() != "two:ann" {
		t.Errorf("%v, %s", err, name())
	}
	if got := configfiletest.Reloads(t, "apiserver_authentication_config_controller_automatic_reloads_total"); got["failure"] != 3 || got["success"] != 1 {
		t.Errorf("counted: %v", got)
	}
}

func TestFaults(t *testing.T) {
	p := newProvider(t)
	for name, o := range map[string]Options{
		"flags and file":         {File: file(t, p, ""), Flags: Flags{IssuerURL: p.URL, ClientID: "c"}},
		"flags without a client": {Flags: Flags{IssuerURL: p.URL}},
		"the cluster's issuer":   {File: file(t, p, "  claimMappings: {username: {claim: sub, prefix: ''}}\n"), Issuers: []string{p.URL}},
		"no file":                {File: filepath.Join(t.TempDir(), "none")},
	} {
		if _, err := New(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	a, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := a.AuthenticateToken(context.Background(), p.token(t, nil)); ok || err != nil {
		t.Errorf("nothing configured: %v %v", ok, err)
	}
}

// FuzzDecode: a configuration is refused, or providers can be made of it and it says what it said when read again.
func FuzzDecode(f *testing.F) {
	const header = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	for _, text := range []string{
		header + "anonymous: {enabled: true, conditions: [{path: /livez}]}\n", header + "anonymous: {enabled: false, conditions: [{path: ''}]}\njwt: []\n",
		header + "jwt:\n- issuer: {url: 'https://127.0.0.1:1', audiences: [a, b], audienceMatchPolicy: MatchAny}\n  claimMappings: {username: {claim: sub, prefix: 'x:'}, groups: {expression: 'claims.roles.split(\",\")'}, uid: {claim: sub}, extra: [{key: example.com/a, valueExpression: claims.sub}]}\n" +
			"  claimValidationRules: [{expression: 'claims.exp - claims.nbf <= 86400', message: m}, {claim: hd, requiredValue: x}]\n  userValidationRules: [{expression: '!user.username.startsWith(\"system:\")'}]\n",
		header + "jwt: [{issuer: {url: 'https://127.0.0.1:1', discoveryURL: 'https://127.0.0.1:2/x', certificateAuthority: x, audiences: [a]}, claimMappings: {username: {expression: 'claims.?a.orValue(1)'}}}]\n",
		header + "jwt: [{issuer: {url: 'http://a?b#c'}, claimMappings: {username: {claim: a, expression: b}}}, {}]\n",
		"apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthenticationConfiguration\n", "apiVersion: apiserver.config.k8s.io/v1alpha1\nkind: AuthenticationConfiguration\nmore: 1\n",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n", "jwt: &a [*a]",
	} {
		f.Add([]byte(text))
	}
	compiler := authenticationcel.NewDefaultCompiler()
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := decode(text)
		if err != nil {
			return
		}
		if faults := validation.ValidateAuthenticationConfiguration(compiler, config, []string{"https://own.example.com"}); len(faults) > 0 {
			return
		}
		for _, jwt := range config.JWT {
			if len(jwt.Issuer.Audiences) == 0 || !strings.HasPrefix(jwt.Issuer.URL, "https://") || jwt.Issuer.URL == "https://own.example.com" {
				t.Errorf("%q: a provider %+v", text, jwt.Issuer)
			}
		}
		written, err := apiruntime.Encode(codecs().LegacyCodec(apiserverv1.SchemeGroupVersion), config)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decode(written); err != nil || !equality.Semantic.DeepEqual(again, config) {
			t.Errorf("%q is %s, and that is %+v, %v", text, written, again, err)
		}
	})
}
