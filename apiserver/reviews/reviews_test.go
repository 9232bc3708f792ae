package reviews

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/authn"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/authz"
	"clipper/apiserver/pipeline"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func setUp(t *testing.T) (Config, *apitest.Client) {
	t.Helper()
	c := &apitest.Client{}
	c.Add(api.ServiceAccounts.Resource, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "robot", UID: "sa"}})
	c.Add(api.Nodes.Resource, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "node"}})
	c.Add(api.Pods.Resource,
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "pod"}, Spec: corev1.PodSpec{ServiceAccountName: "robot", NodeName: "n1"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "other", UID: "pod2"}, Spec: corev1.PodSpec{ServiceAccountName: "default"}})
	c.Add(api.Roles.Resource, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "r"},
		Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}})
	c.Add(api.RoleBindings.Resource, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "b"},
		RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := satoken.NewSigner(satoken.Options{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return now }
	static := authn.StaticTokens{}
	static.Add("static", &user.DefaultInfo{Name: "root"})
	tokens := authn.New(authn.Config{Tokens: satoken.NewChecker(signer, c, clock), Client: c, Now: clock, Audiences: []string{signer.Issuer()},
		Static: static})
	return Config{Client: c, Authorizer: authz.New(c), Tokens: tokens, Signer: signer, Now: clock}, c
}

func ask[T api.Object](t *testing.T, cfg Config, resource string, req pipeline.Request, body T) (T, error) {
	t.Helper()
	var gr schema.GroupResource
	for k := range Creaters(cfg) {
		if k.Resource == resource {
			gr = k
		}
	}
	out, err := Creaters(cfg)[gr](t.Context(), &req, body, metav1.CreateOptions{})
	if err != nil {
		var zero T
		return zero, err
	}
	return out.(T), nil
}

func TestAccess(t *testing.T) {
	cfg, _ := setUp(t)
	ann := pipeline.Request{User: &user.DefaultInfo{Name: "ann"}, Namespace: "ns"}
	pods := &authorizationv1.ResourceAttributes{Namespace: "ns", Verb: "get", Resource: "pods"}
	self, err := ask(t, cfg, "selfsubjectaccessreviews", ann, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods}})
	if err != nil || !self.Status.Allowed || self.Status.Reason != `RBAC: allowed by RoleBinding "b/ns" of Role "r" to User "ann"` {
		t.Errorf("self: %+v %v", self, err)
	}
	full, err := ask(t, cfg, "subjectaccessreviews", ann, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "bob", ResourceAttributes: pods}})
	if err != nil || full.Status.Allowed || full.Status.Denied {
		t.Errorf("bob: %+v %v", full, err)
	}
	for _, tt := range []struct {
		spec authorizationv1.SubjectAccessReviewSpec
		want string
	}{
		{authorizationv1.SubjectAccessReviewSpec{User: "x"}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"},
		{authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: pods}, "at least one of user or group must be specified"},
		{authorizationv1.SubjectAccessReviewSpec{User: "x", ResourceAttributes: pods, NonResourceAttributes: &authorizationv1.NonResourceAttributes{}},
			"cannot be specified in combination with resourceAttributes"},
	} {
		if _, err := ask(t, cfg, "subjectaccessreviews", ann, &authorizationv1.SubjectAccessReview{Spec: tt.spec}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.spec, err)
		}
	}
	elsewhere := *pods
	elsewhere.Namespace = "other"
	_, err = ask(t, cfg, "localsubjectaccessreviews", ann, &authorizationv1.LocalSubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: "ann", ResourceAttributes: &elsewhere}})
	if err == nil || !strings.Contains(err.Error(), "must match metadata.namespace") {
		t.Errorf("local review of another namespace: %v", err)
	}
	list, err := ask(t, cfg, "selfsubjectrulesreviews", ann, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "ns"}})
	if err != nil || len(list.Status.ResourceRules) != 1 || list.Status.Incomplete {
		t.Errorf("rules: %+v %v", list, err)
	}
	me, err := ask(t, cfg, "selfsubjectreviews", ann, &authenticationv1.SelfSubjectReview{TypeMeta: metav1.TypeMeta{Kind: "SelfSubjectReview"}})
	if err != nil || me.Status.UserInfo.Username != "ann" || me.Kind != "" {
		t.Errorf("who am I: %+v %v", me, err)
	}
}

func TestTokenRequestAndReview(t *testing.T) {
	cfg, c := setUp(t)
	req := pipeline.Request{User: &user.DefaultInfo{Name: "ann"}, Namespace: "ns", Name: "robot"}
	spec := func(seconds int64, ref *authenticationv1.BoundObjectReference, auds ...string) *authenticationv1.TokenRequest {
		return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: ref, Audiences: auds}}
	}
	pod := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web", UID: "pod"}
	for _, tt := range []struct {
		name string
		req  pipeline.Request
		body *authenticationv1.TokenRequest
		err  string
	}{
		{"plain", req, spec(60*60, nil), ""},
		{"pod", req, spec(3607, pod), ""},
		{"too short", req, spec(599, pod), "may not specify a duration less than 10 minutes"},
		{"too long", req, spec(1<<33, pod), "may not specify a duration larger than 2^32 seconds"},
		{"unknown account", pipeline.Request{Namespace: "ns", Name: "ghost"}, spec(3600, nil), `serviceaccounts "ghost" not found`},
		{"other account's pod", req, spec(3600, &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "other"}),
			`cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name.`},
		{"pod made again", req, spec(3600, &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web", UID: "old"}), "does not match the UID in record"},
		{"other name in the body", req, named(&authenticationv1.TokenRequest{}, "ann", ""), `metadata.name: Invalid value: "ann": must match the service account name if specified`},
		{"account made again", req, named(&authenticationv1.TokenRequest{}, "robot", "old"), "the UID in the token request (old) does not match the UID of the service account (sa)"},
		{"odd kind", req, spec(3600, &authenticationv1.BoundObjectReference{Kind: "ConfigMap", APIVersion: "v1"}), "cannot bind token to object of type /v1, Kind=ConfigMap"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := ask(t, cfg, "serviceaccounts/token", tt.req, tt.body)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := now.Add(time.Duration(*out.Spec.ExpirationSeconds) * time.Second); !out.Status.ExpirationTimestamp.Time.Equal(want) {
				t.Errorf("expires %v, want %v", out.Status.ExpirationTimestamp, want)
			}
			review, err := ask(t, cfg, "tokenreviews", pipeline.Request{}, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: out.Status.Token}})
			if err != nil || !review.Status.Authenticated || review.Status.User.Username != "system:serviceaccount:ns:robot" {
				t.Errorf("review: %+v %v", review, err)
			}
			if tt.name == "pod" && review.Status.User.Extra["authentication.kubernetes.io/node-name"][0] != "n1" {
				t.Errorf("extra: %v", review.Status.User.Extra)
			}
		})
	}
	// A token for somebody else is not good here, and good there.
	out, err := ask(t, cfg, "serviceaccounts/token", req, spec(3600, pod, "vault"))
	if err != nil {
		t.Fatal(err)
	}
	review := func(auds ...string) authenticationv1.TokenReviewStatus {
		r, err := ask(t, cfg, "tokenreviews", pipeline.Request{}, &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: out.Status.Token, Audiences: auds}})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status
	}
	if review().Authenticated || !review("vault").Authenticated {
		t.Error("audiences are not respected")
	}
	if err := api.Pods.Delete(t.Context(), c, "ns", "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if review("vault").Authenticated {
		t.Error("the pod is gone and its token still counts")
	}
	if got, want := review("vault").Error, "[invalid bearer token, service account token has been invalidated]"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	out.Status.Token = "stranger"
	if got, want := review().Error, "invalid bearer token"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	if _, err := ask(t, cfg, "tokenreviews", pipeline.Request{}, &authenticationv1.TokenReview{}); err == nil {
		t.Error("a review of no token")
	}
}

func named(tr *authenticationv1.TokenRequest, name string, uid types.UID) *authenticationv1.TokenRequest {
	tr.Name, tr.UID = name, uid
	return tr
}

func TestTokenLimits(t *testing.T) {
	cfg, _ := setUp(t)
	req := pipeline.Request{User: &user.DefaultInfo{Name: "ann"}, Namespace: "ns", Name: "robot"}
	pod := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web", UID: "pod"}
	for _, tt := range []struct {
		name    string
		limits  TokenLimits
		seconds int64
		auds    []string
		shown   int64         // in the answer
		life    time.Duration // of the token
	}{
		{"as asked", TokenLimits{}, 7200, nil, 7200, 2 * time.Hour},
		{"extended", TokenLimits{}, 3607, nil, 3607, 365 * 24 * time.Hour},
		{"not extended", TokenLimits{NoExtend: true}, 3607, nil, 3607, 3607 * time.Second},
		{"not for others", TokenLimits{}, 3607, []string{"vault"}, 3607, 3607 * time.Second},
		{"shortened", TokenLimits{Longest: time.Hour}, 7200, nil, 3600, time.Hour},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cfg
			cfg.Limits = tt.limits
			var warned string
			req.Warn = func(text string) { warned = text }
			out, err := ask(t, cfg, "serviceaccounts/token", req, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
				ExpirationSeconds: &tt.seconds, BoundObjectRef: pod, Audiences: tt.auds}})
			if err != nil || *out.Spec.ExpirationSeconds != tt.shown {
				t.Fatalf("%+v, %v", out, err)
			}
			want := ""
			if tt.shown < tt.seconds {
				want = fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", tt.seconds, tt.shown)
			}
			if warned != want {
				t.Errorf("warned %q, want %q", warned, want)
			}
			parsed, err := jwt.ParseSigned(out.Status.Token, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatal(err)
			}
			var claims jwt.Claims
			if err := parsed.UnsafeClaimsWithoutVerification(&claims); err != nil || claims.Expiry.Time().Sub(now) != tt.life {
				t.Errorf("lasts %v, want %v (%v)", claims.Expiry.Time().Sub(now), tt.life, err)
			}
		})
	}
}

func TestOIDC(t *testing.T) {
	cfg, _ := setUp(t)
	h, err := OIDC(cfg.Signer, "https://192.0.2.1:6443/openid/v1/jwks")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h[DiscoveryPath].ServeHTTP(w, httptest.NewRequest("GET", DiscoveryPath, nil))
	if body := w.Body.String(); !strings.Contains(body, `"jwks_uri":"https://192.0.2.1:6443/openid/v1/jwks"`) || !strings.Contains(body, satoken.DefaultIssuer) {
		t.Errorf("discovery: %s", body)
	}
	w = httptest.NewRecorder()
	h[JWKSPath].ServeHTTP(w, httptest.NewRequest("GET", JWKSPath, nil))
	if w.Header().Get("Content-Type") != "application/jwk-set+json" || !strings.Contains(w.Body.String(), `"alg":"ES256"`) {
		t.Errorf("key set: %s", w.Body.String())
	}
}
