package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/kubelet/config/v1beta1"

	"clipper/api"
	"clipper/node/kubeletconfig"
)

var (
	tokenReviews  = api.Resource{Group: "authentication.k8s.io", Version: "v1", Name: "tokenreviews", Kind: "TokenReview"}
	accessReviews = api.Resource{Group: "authorization.k8s.io", Version: "v1", Name: "subjectaccessreviews", Kind: "SubjectAccessReview"}
)

// reviewTimeout bounds what one request may wait for its caller's review.
const reviewTimeout = 10 * time.Second

// Delegated leaves both questions to the API server: who is it (a certificate of the cluster's authority,
// or a token to review), and may they do that to this node. The settings say for how long answers are good,
// and whether there is anything to ask at all.
type Delegated struct {
	client   api.Client
	node     string
	settings *kubeletconfig.Configuration
	cas      *x509.CertPool

	tokens answers[*authenticationv1.UserInfo]
	grants answers[bool]
}

// NewDelegated returns the authorizer of a node; cas verify callers' certificates.
func NewDelegated(c api.Client, node string, settings *kubeletconfig.Configuration, cas *x509.CertPool) *Delegated {
	return &Delegated{client: c, node: node, settings: settings, cas: cas}
}

// Authorize implements Authorizer.
func (d *Delegated) Authorize(r *http.Request, verb string, subresources []string) error {
	ctx, cancel := context.WithTimeout(r.Context(), reviewTimeout)
	defer cancel()
	u, err := d.identify(ctx, r)
	if err != nil {
		slog.Warn("Who makes a request to the node is not known", "path", r.URL.Path, "err", err)
	}
	if u == nil {
		return &Refusal{http.StatusUnauthorized, "Unauthorized"}
	}
	if d.settings.Authorization.Mode == v1beta1.KubeletAuthorizationModeAlwaysAllow {
		return nil
	}
	for _, sub := range subresources {
		ok, err := d.allowed(ctx, u, verb, sub)
		if err != nil {
			slog.Warn("Whether a request to the node is allowed is not known", "user", u.Username, "subresource", sub, "err", err)
			return &Refusal{http.StatusInternalServerError, fmt.Sprintf("Authorization error (user=%s, verb=%s, resource=nodes, subresource=%s)", u.Username, verb, sub)}
		}
		if ok {
			return nil
		}
	}
	return &Refusal{http.StatusForbidden, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=%v)\n", u.Username, verb, subresources)}
}

// identify returns the caller, nil if nothing identifies one. An error beside nil says why it could not be found out.
func (d *Delegated) identify(ctx context.Context, r *http.Request) (*authenticationv1.UserInfo, error) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return d.verify(r.TLS.PeerCertificates), nil
	}
	if scheme, token, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); strings.EqualFold(scheme, "bearer") && token != "" {
		if !*d.settings.Authentication.Webhook.Enabled {
			return nil, nil
		}
		return d.review(ctx, token) // who shows a token that is no good is not anonymous
	}
	if *d.settings.Authentication.Anonymous.Enabled {
		return &authenticationv1.UserInfo{Username: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, nil
	}
	return nil, nil
}

// verify returns the user that a certificate names, nil if no authority vouches for it.
func (d *Delegated) verify(chain []*x509.Certificate) *authenticationv1.UserInfo {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: d.cas, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil || chain[0].Subject.CommonName == "" {
		return nil
	}
	groups := append(slices.Clone(chain[0].Subject.Organization), user.AllAuthenticated)
	return &authenticationv1.UserInfo{Username: chain[0].Subject.CommonName, Groups: groups}
}

func (d *Delegated) review(ctx context.Context, token string) (*authenticationv1.UserInfo, error) {
	key := digest(token) // tokens themselves are not kept
	if u, ok := d.tokens.get(key, time.Now()); ok {
		return u, nil
	}
	obj, err := d.client.Create(ctx, tokenReviews,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review a token: %w", err)
	}
	var u *authenticationv1.UserInfo
	if st := obj.(*authenticationv1.TokenReview).Status; st.Authenticated {
		u = &st.User
	}
	d.tokens.put(key, u, time.Now().Add(d.settings.Authentication.Webhook.CacheTTL.Duration))
	return u, nil
}

func (d *Delegated) allowed(ctx context.Context, u *authenticationv1.UserInfo, verb, sub string) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{
		User: u.Username, Groups: u.Groups, UID: u.UID,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: d.node},
	}
	for k, v := range u.Extra {
		if spec.Extra == nil {
			spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		spec.Extra[k] = authorizationv1.ExtraValue(v)
	}
	asked, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("encode a question about %s: %w", u.Username, err)
	}
	key := digest(string(asked))
	if yes, ok := d.grants.get(key, time.Now()); ok {
		return yes, nil
	}
	obj, err := d.client.Create(ctx, accessReviews, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review %s's access to nodes/%s: %w", u.Username, sub, err)
	}
	yes := obj.(*authorizationv1.SubjectAccessReview).Status.Allowed
	life := d.settings.Authorization.Webhook.CacheUnauthorizedTTL.Duration
	if yes {
		life = d.settings.Authorization.Webhook.CacheAuthorizedTTL.Duration
	}
	d.grants.put(key, yes, time.Now().Add(life))
	return yes, nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return string(sum[:])
}

// maxAnswers bounds a cache; a full one is emptied.
const maxAnswers = 4096

// answers remembers what the API server has said.
type answers[T any] struct {
	mu    sync.Mutex
	known map[string]answer[T]
}

type answer[T any] struct {
	value T
	until time.Time
}

func (a *answers[T]) get(key string, now time.Time) (T, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known, ok := a.known[key]
	return known.value, ok && now.Before(known.until)
}

func (a *answers[T]) put(key string, value T, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= maxAnswers {
		a.known = map[string]answer[T]{}
	}
	a.known[key] = answer[T]{value, until}
}
