package satoken

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newSigner(t testing.TB) *Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func world() (*apitest.Client, *corev1.ServiceAccount) {
	c := &apitest.Client{}
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "sa-1"}}
	c.Add(api.ServiceAccounts.Resource, sa)
	c.Add(api.Pods.Resource, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "pod-1"}})
	c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node-1"}})
	return c, sa
}

// TestAudienceIsAnArray: other readers of the tokens, secret stores for one, rely on the form that upstream's have.
func TestAudienceIsAnArray(t *testing.T) {
	signer := newSigner(t)
	for _, asked := range [][]string{{"vault"}, {"a", "b"}} {
		token, _, _, err := signer.Sign(t.Context(), Binding{ServiceAccount: &corev1.ServiceAccount{}, Audiences: asked, Life: time.Hour}, start)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
		if err != nil {
			t.Fatal(err)
		}
		var said struct {
			Audience []string `json:"aud"`
		}
		if err := json.Unmarshal(payload, &said); err != nil || !slices.Equal(said.Audience, asked) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

func TestBoundToken(t *testing.T) {
	deleted := func(ago time.Duration) func(*apitest.Client) {
		return func(c *apitest.Client) {
			at := metav1.NewTime(start.Add(-ago))
			c.Add(api.Pods.Resource, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "pod-1", DeletionTimestamp: &at}})
		}
	}
	pod := &Ref{Name: "web", UID: "pod-1"}
	for _, tt := range []struct {
		name      string
		binding   Binding
		after     time.Duration // how long after signing it is shown
		change    func(*apitest.Client)
		audiences []string
		err       string // "" for a valid token
	}{
		{name: "valid", binding: Binding{Pod: pod}},
		{name: "at its last second", binding: Binding{Pod: pod}, after: time.Hour + time.Minute},
		{name: "expired", binding: Binding{Pod: pod}, after: time.Hour + time.Minute + time.Second, err: "service account token has expired"},
		{name: "of the future", binding: Binding{Pod: pod}, after: -61 * time.Second, err: "not valid yet"},
		{name: "pod replaced", binding: Binding{Pod: &Ref{Name: "web", UID: "pod-0"}}, err: "does not match"},
		{name: "pod gone", binding: Binding{Pod: &Ref{Name: "gone", UID: "pod-1"}}, err: "service account token has been invalidated"},
		{name: "pod just deleted", binding: Binding{Pod: pod}, change: deleted(59 * time.Second)},
		{name: "pod deleted a while ago", binding: Binding{Pod: pod}, change: deleted(61 * time.Second), err: "has been invalidated"},
		{name: "node", binding: Binding{Node: &Ref{Name: "n1", UID: "node-1"}}},
		{name: "node replaced", binding: Binding{Node: &Ref{Name: "n1", UID: "node-0"}}, err: "does not match"},
		{name: "pod's node is only information", binding: Binding{Pod: pod, Node: &Ref{Name: "n9", UID: "x"}}},
		{name: "secret gone", binding: Binding{Secret: &Ref{Name: "s", UID: "u"}}, err: "has been invalidated"},
		{name: "other audience", binding: Binding{Audiences: []string{"vault"}}, err: "audiences"},
		{name: "asked audience", binding: Binding{Audiences: []string{"vault"}}, audiences: []string{"vault", "x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, sa := world()
			if tt.change != nil {
				tt.change(c)
			}
			s := newSigner(t)
			tt.binding.ServiceAccount, tt.binding.Life = sa, time.Hour
			token, expires, id, err := s.Sign(t.Context(), tt.binding, start)
			if err != nil || !expires.Equal(start.Add(time.Hour)) || !strings.HasPrefix(id, "JTI=") {
				t.Fatalf("Sign: %v %v %v", expires, id, err)
			}
			check := NewChecker(s, c, func() time.Time { return start.Add(tt.after) })
			for range 2 { // the second time from the cache
				info, auds, ok, err := check.Check(context.Background(), token, tt.audiences)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Fatalf("got %v %v, want an error with %q", ok, err, tt.err)
					}
					continue
				}
				if err != nil || !ok || len(auds) != 1 {
					t.Fatalf("refused: %v %v %v", ok, auds, err)
				}
				if info.GetName() != "system:serviceaccount:ns:robot" || info.GetUID() != "sa-1" {
					t.Errorf("user %v %v", info.GetName(), info.GetUID())
				}
				if tt.binding.Pod != nil && info.GetExtra()["authentication.kubernetes.io/pod-uid"][0] != "pod-1" {
					t.Errorf("extra %v", info.GetExtra())
				}
			}
		})
	}
}

func TestForgeries(t *testing.T) {
	c, sa := world()
	s, other := newSigner(t), newSigner(t)
	check := NewChecker(s, c, func() time.Time { return start })
	forged, _, _, err := other.Sign(t.Context(), Binding{ServiceAccount: sa, Life: time.Hour}, start)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok, err := check.Check(context.Background(), forged, nil); ok || err == nil {
		t.Error("a token of another key was accepted")
	}
	// A legacy token only counts while its secret holds it.
	legacy, err := s.SignLegacy(sa, "robot-token")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok, _ := check.Check(context.Background(), legacy, nil); ok {
		t.Error("a legacy token without its secret was accepted")
	}
	c.Add(api.Secrets.Resource, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot-token"},
		Data: map[string][]byte{"token": []byte(legacy)}})
	if _, _, ok, err := check.Check(context.Background(), legacy, nil); !ok || err != nil {
		t.Errorf("a legacy token with its secret was refused: %v", err)
	}
	for _, foreign := range []string{"", "abc", "abcdef.0123456789abcdef", "a.b.c"} {
		if _, _, ok, err := check.Check(context.Background(), foreign, nil); ok || err != nil {
			t.Errorf("%q: ok %v, error %v; another authenticator might know it", foreign, ok, err)
		}
	}
}

func TestJWKSVerifies(t *testing.T) {
	s := newSigner(t)
	_, sa := world()
	token, _, _, err := s.Sign(t.Context(), Binding{ServiceAccount: sa, Life: time.Hour}, start)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(raw, &set); err != nil {
		t.Fatal(err)
	}
	sig, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	keys := set.Key(sig.Signatures[0].Header.KeyID)
	if len(keys) != 1 {
		t.Fatalf("key id %q not in the set", sig.Signatures[0].Header.KeyID)
	}
	if _, err := sig.Verify(keys[0]); err != nil {
		t.Error(err)
	}
}

func FuzzCheck(f *testing.F) {
	c, sa := world()
	s := newSigner(f)
	token, _, _, err := s.Sign(f.Context(), Binding{ServiceAccount: sa, Life: time.Hour}, start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("..")
	check := NewChecker(s, c, func() time.Time { return start })
	f.Fuzz(func(t *testing.T, in string) {
		info, _, ok, _ := check.Check(context.Background(), in, nil)
		if ok && info.GetName() != "system:serviceaccount:ns:robot" {
			t.Errorf("%q became %v", in, info)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	c, sa := world()
	s := newSigner(b)
	token, _, _, err := s.Sign(b.Context(), Binding{ServiceAccount: sa, Life: time.Hour, Pod: &Ref{Name: "web", UID: "pod-1"}}, start)
	if err != nil {
		b.Fatal(err)
	}
	check := NewChecker(s, c, func() time.Time { return start })
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok, err := check.Check(context.Background(), token, nil); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

// TestRotation changes the signing key: tokens of the old one count for as long as its public half is named.
func TestRotation(t *testing.T) {
	c, sa := world()
	first, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	signer := func(o Options) *Signer {
		s, err := NewSigner(o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := signer(Options{Key: first, Issuers: []string{"https://old"}})
	after := signer(Options{Key: second, Verify: []crypto.PublicKey{first.Public()}, Issuers: []string{"https://new", "https://old"}})
	final := signer(Options{Key: second, Issuers: []string{"https://new", "https://old"}})
	old, _, _, err := before.Sign(t.Context(), Binding{ServiceAccount: sa, Life: time.Hour}, start)
	if err != nil {
		t.Fatal(err)
	}
	fresh, _, _, err := after.Sign(t.Context(), Binding{ServiceAccount: sa, Life: time.Hour}, start)
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return start }
	for _, tt := range []struct {
		name   string
		signer *Signer
		token  string
		err    string
	}{
		{"old, before", before, old, ""}, {"old, after", after, old, ""}, {"new, after", after, fresh, ""},
		{"old, without its key", final, old, "invalid signature, no keys found"},
	} {
		_, _, ok, err := NewChecker(tt.signer, c, clock).Check(context.Background(), tt.token, nil)
		if ok != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: %v %v", tt.name, ok, err)
		}
	}
	if _, _, ok, err := NewChecker(before, c, clock).Check(context.Background(), fresh, nil); ok || err != nil {
		t.Errorf("a token of an issuer that is not ours: %v %v", ok, err)
	}
	doc, err := after.Discovery("https://x/jwks")
	if want := `{"issuer":"https://new","jwks_uri":"https://x/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES384","RS256"]}`; err != nil || string(doc) != want {
		t.Errorf("discovery %s, %v", doc, err)
	}
}

func TestLegacyUseIsNoted(t *testing.T) {
	c, sa := world()
	s := newSigner(t)
	token, err := s.SignLegacy(sa, "robot-token")
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot-token"}, Data: map[string][]byte{"token": []byte(token)}}
	c.Add(api.Secrets.Resource, secret)
	now := start
	before := struct{ used, manual, outOfForce float64 }{testutil.ToFloat64(legacyUsed), testutil.ToFloat64(legacyManual), testutil.ToFloat64(legacyOutOfForce)}
	check := NewChecker(s, c, func() time.Time { return now })
	use := func() error {
		_, _, _, err := check.Check(context.Background(), token, nil)
		return err
	}
	label := func() string {
		got, err := api.Secrets.Get(t.Context(), c, "ns", "robot-token")
		if err != nil {
			t.Fatal(err)
		}
		return got.Labels[LastUsedLabel]
	}
	if err := use(); err != nil || label() != "2026-01-02" {
		t.Errorf("%v, label %q", err, label())
	}
	now = start.AddDate(0, 0, 1)
	if err := use(); err != nil || label() != "2026-01-03" {
		t.Errorf("the next day: %v, label %q", err, label())
	}
	got, _ := api.Secrets.Get(t.Context(), c, "ns", "robot-token")
	got = got.DeepCopy()
	got.Labels[InvalidSinceLabel] = "2026-01-03"
	if _, err := api.Secrets.Update(t.Context(), c, got); err != nil {
		t.Fatal(err)
	}
	if err := use(); err == nil || !strings.Contains(err.Error(), "has been marked invalid") {
		t.Errorf("marked invalid: %v", err)
	}
	for name, n := range map[string]float64{
		"used": testutil.ToFloat64(legacyUsed) - before.used, "manual": testutil.ToFloat64(legacyManual) - before.manual,
		"out of force": testutil.ToFloat64(legacyOutOfForce) - before.outOfForce,
	} {
		if want := map[string]float64{"used": 3, "manual": 2, "out of force": 1}[name]; n != want {
			t.Errorf("%s: %v counted, want %v", name, n, want)
		}
	}
}
