package externalsigner

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	externaljwtv1 "k8s.io/externaljwt/apis/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authn/satoken"
)

// A process signs with the last of its keys.
type process struct {
	externaljwtv1.UnimplementedExternalJWTSignerServer

	mu     sync.Mutex
	keys   []*externaljwtv1.Key
	signer jose.Signer
	asked  int // for keys
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// rotate adds a key; tell says whether the process tells of it.
func (p *process) rotate(t *testing.T, id string, tell, hidden bool) {
	t.Helper()
	key := newKey(t)
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signer = signer
	if tell {
		p.keys = append(p.keys, &externaljwtv1.Key{KeyId: id, Key: der, ExcludeFromOidcDiscovery: hidden})
	}
}

func (p *process) Sign(_ context.Context, r *externaljwtv1.SignJWTRequest) (*externaljwtv1.SignJWTResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	payload, err := base64.RawURLEncoding.DecodeString(r.Claims)
	if err != nil {
		return nil, err
	}
	signed, err := p.signer.Sign(payload)
	if err != nil {
		return nil, err
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		return nil, err
	}
	parts := strings.Split(text, ".")
	return &externaljwtv1.SignJWTResponse{Header: parts[0], Signature: parts[2]}, nil
}

func (p *process) FetchKeys(context.Context, *externaljwtv1.FetchKeysRequest) (*externaljwtv1.FetchKeysResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return &externaljwtv1.FetchKeysResponse{Keys: p.keys, DataTimestamp: timestamppb.Now(), RefreshHintSeconds: 600}, nil
}

func (p *process) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *process) Metadata(context.Context, *externaljwtv1.MetadataRequest) (*externaljwtv1.MetadataResponse, error) {
	return &externaljwtv1.MetadataResponse{MaxTokenExpirationSeconds: 3600}, nil
}

// start serves p at a socket and connects to it.
func start(t *testing.T, p *process) *Signer {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "signer")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	externaljwtv1.RegisterExternalJWTSignerServer(server, p)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-served })
	s, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestTokens: what the process signs is accepted while it tells of the key, and what our own key signed before is, too.
func TestTokens(t *testing.T) {
	p := &process{}
	p.rotate(t, "first", true, false)
	outside := start(t, p)
	if longest, err := outside.Longest(t.Context()); longest != time.Hour || err != nil {
		t.Errorf("tokens may last %v, %v", longest, err)
	}
	own := newKey(t)
	options := satoken.Options{Key: own, Issuers: []string{"https://cluster.example"}}
	alone := signer(t, options)
	options.External = outside
	s := signer(t, options)
	c, sa := &apitest.Client{}, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "1"}}
	c.Add(api.ServiceAccounts.Resource, sa)
	checker := satoken.NewChecker(s, c, time.Now)
	sign := func(s *satoken.Signer) string {
		t.Helper()
		token, _, _, err := s.Sign(t.Context(), satoken.Binding{ServiceAccount: sa, Life: time.Hour}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	accepted := func(token string) bool {
		_, _, ok, _ := checker.Check(t.Context(), token, nil)
		return ok
	}
	before, first := sign(alone), sign(s)
	if !accepted(before) || !accepted(first) {
		t.Error("a token of our own key, or of the process', is refused")
	}
	p.rotate(t, "second", true, false)
	second := sign(s)
	if !accepted(second) {
		t.Error("a token of a key that we have not heard of is refused without asking")
	}
	if jwks, err := s.JWKS(); err != nil || strings.Count(string(jwks), `"kid"`) != 3 {
		t.Errorf("others are told of %s, %v", jwks, err)
	}
	p.mu.Lock()
	p.keys = p.keys[1:]
	p.mu.Unlock()
	if err := outside.fetch(t.Context()); err != nil {
		t.Fatal(err)
	}
	if accepted(first) || !accepted(second) {
		t.Error("a key that was withdrawn still counts, or one that was not does not")
	}
	p.rotate(t, "made up", false, false)
	forged := sign(s)
	asked := p.fetches()
	for range 5 {
		if accepted(forged) {
			t.Error("a token of a key that nobody tells of is accepted")
		}
	}
	if n := p.fetches() - asked; n > 5 {
		t.Errorf("keys were fetched %d times for one token that was shown five times", n)
	}
}

func signer(t *testing.T, o satoken.Options) *satoken.Signer {
	t.Helper()
	s, err := satoken.NewSigner(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestHiddenKeys: a key that others are not told of must not sign.
func TestHiddenKeys(t *testing.T) {
	p := &process{}
	p.rotate(t, "hidden", true, true)
	outside := start(t, p)
	s := signer(t, satoken.Options{Key: newKey(t), External: outside})
	_, _, _, err := s.Sign(t.Context(), satoken.Binding{ServiceAccount: &corev1.ServiceAccount{}, Life: time.Hour}, time.Now())
	if err == nil || !strings.Contains(err.Error(), "key used for signing JWT (kid: hidden) is excluded from OIDC discovery docs") {
		t.Error(err)
	}
	if jwks, err := s.JWKS(); err != nil || strings.Contains(string(jwks), "hidden") {
		t.Errorf("others are told of %s, %v", jwks, err)
	}
}

// TestKeyHiddenSince: a key that we have not heard of may be one that must not sign. What was asked is counted.
func TestKeyHiddenSince(t *testing.T) {
	p := &process{}
	p.rotate(t, "shown", true, false)
	outside := start(t, p)
	if _, _, err := outside.Sign(t.Context(), ""); err != nil {
		t.Error(err)
	}
	p.rotate(t, "since", true, true)
	const want = "while validating header: key used for signing JWT (kid: since) is excluded from OIDC discovery docs"
	if _, _, err := outside.Sign(t.Context(), ""); err == nil || err.Error() != want {
		t.Error(err)
	}
	for text, want := range map[string]float64{"OK": 1, "unknown-non-grpc": 1} {
		if n := testutil.ToFloat64(outside.metrics.signs.WithLabelValues(text)); n != want {
			t.Errorf("%v signed with %s", n, text)
		}
	}
	if n := testutil.ToFloat64(outside.metrics.fetches.WithLabelValues("OK")); n != 2 {
		t.Errorf("keys fetched %v times", n)
	}
	if at := testutil.ToFloat64(outside.metrics.data); time.Since(time.Unix(int64(at), 0)) > time.Minute {
		t.Errorf("keys are of %v", at)
	}
	if n := testutil.CollectAndCount(outside.metrics.took); n != 2 {
		t.Errorf("%d methods were asked", n)
	}
}

// TestSearch: whoever makes up tokens does not make the process work for each.
func TestSearch(t *testing.T) {
	p := &process{}
	p.rotate(t, "a", true, false)
	s := start(t, p)
	s.searched = time.Now().Add(time.Hour)
	for range 10 {
		if err := s.Search(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.fetches(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestRead(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(crypto.Signer(newKey(t)).Public())
	if err != nil {
		t.Fatal(err)
	}
	good := func() *externaljwtv1.FetchKeysResponse {
		return &externaljwtv1.FetchKeysResponse{RefreshHintSeconds: 1, DataTimestamp: timestamppb.Now(), Keys: []*externaljwtv1.Key{{KeyId: "a", Key: der}}}
	}
	for want, spoil := range map[string]func(*externaljwtv1.FetchKeysResponse){
		"":                                   func(*externaljwtv1.FetchKeysResponse) {},
		"found invalid refresh hint (0s)":    func(r *externaljwtv1.FetchKeysResponse) { r.RefreshHintSeconds = 0 },
		"found no keys":                      func(r *externaljwtv1.FetchKeysResponse) { r.Keys = nil },
		"invalid data timestamp":             func(r *externaljwtv1.FetchKeysResponse) { r.DataTimestamp = nil },
		"found nil public key":               func(r *externaljwtv1.FetchKeysResponse) { r.Keys[0] = nil },
		"found invalid public key id":        func(r *externaljwtv1.FetchKeysResponse) { r.Keys[0].KeyId = strings.Repeat("a", 1025) },
		"found empty public key":             func(r *externaljwtv1.FetchKeysResponse) { r.Keys[0].Key = nil },
		"while parsing external public keys": func(r *externaljwtv1.FetchKeysResponse) { r.Keys[0].Key = []byte("x") },
	} {
		r := good()
		spoil(r)
		if _, err := read(r); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestReadHeader(t *testing.T) {
	for header, want := range map[string]string{
		`{"alg":"RS256","kid":"a","typ":"JWT"}`:                                 "",
		`{"alg":"RS256","kid":"a"}`:                                             "bad type",
		`{"alg":"RS256","typ":"JWT"}`:                                           "key id missing",
		`{"alg":"none","kid":"a","typ":"JWT"}`:                                  `bad signing algorithm "none"`,
		`{"alg":"RS256","kid":"a","typ":"JWT","jku":"x"}`:                       "while parsing header JSON",
		`{"alg":"RS256","typ":"JWT","kid":"` + strings.Repeat("a", 1025) + `"}`: "key id longer than 1 kb",
	} {
		_, err := readHeader(base64.RawURLEncoding.EncodeToString([]byte(header)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", header, err, want)
		}
	}
	if _, err := readHeader("!"); err == nil {
		t.Error("no base64, and no error")
	}
}

func FuzzReadHeader(f *testing.F) {
	f.Add(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"a","typ":"JWT"}`)))
	f.Fuzz(func(t *testing.T, encoded string) {
		if id, err := readHeader(encoded); err == nil && (id == "" || len(id) > maxID) {
			t.Errorf("id %q", id)
		}
	})
}
