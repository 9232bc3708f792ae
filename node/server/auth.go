package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

var (
	tokenReviews  = api.Resource{Group: "authentication.k8s.io", Version: "v1", Name: "tokenreviews", Kind: "TokenReview"}
	accessReviews = api.Resource{Group: "authorization.k8s.io", Version: "v1", Name: "subjectaccessreviews", Kind: "SubjectAccessReview"}
)

// How long answers of the API server are good for. Upstream's figures.
const (
	tokenLife  = 2 * time.Minute
	allowLife  = 5 * time.Minute
	denyLife   = 30 * time.Second
	maxAnswers = 4096 // of each cache; beyond it is emptied
)

// Delegated leaves both questions to the API server: who is it (a certificate of the cluster's authority,
// or a token to review), and may they do that to this node.
type Delegated struct {
	Client   api.Client
	NodeName string

	mu     sync.Mutex
	tokens map[string]answer[*authenticationv1.UserInfo]
	grants map[string]answer[bool]
}

type answer[T any] struct {
	value T
	until time.Time
}

// Authorize implements Config.Authorize.
func (d *Delegated) Authorize(r *http.Request, verb, subresource string) error {
	u, err := d.identify(r)
	if err != nil {
		return err
	}
	if u == nil {
		return &Refusal{http.StatusUnauthorized, "Unauthorized"}
	}
	// The finer subresources are asked for first; who may proxy may do everything.
	for _, sub := range []string{subresource, "proxy"} {
		ok, err := d.allowed(r.Context(), u, verb, sub)
		if err != nil {
			return err
		}
		if ok {
			return nil
		}
		if sub == "proxy" || !fine[sub] {
			break
		}
	}
	return &Refusal{http.StatusForbidden, fmt.Sprintf("Forbidden (user=%s, verb=%s, resource=nodes, subresource(s)=[%s])", u.Username, verb, strings.Join(asked(subresource), " "))}
}

// fine are the subresources that were part of proxy once: a grant of proxy still covers them.
var fine = map[string]bool{"healthz": true, "pods": true, "configz": true}

func asked(sub string) []string {
	if fine[sub] {
		return []string{sub, "proxy"}
	}
	return []string{sub}
}

// identify returns the caller, nil if nothing identifies one.
func (d *Delegated) identify(r *http.Request) (*authenticationv1.UserInfo, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		s := r.TLS.VerifiedChains[0][0].Subject
		return &authenticationv1.UserInfo{Username: s.CommonName, Groups: append(s.Organization, "system:authenticated")}, nil
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return nil, nil
	}
	now := time.Now()
	d.mu.Lock()
	a, ok := d.tokens[token]
	d.mu.Unlock()
	if ok && now.Before(a.until) {
		return a.value, nil
	}
	obj, err := d.Client.Create(r.Context(), tokenReviews,
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("review a token: %w", err)
	}
	st := obj.(*authenticationv1.TokenReview).Status
	var u *authenticationv1.UserInfo
	if st.Authenticated {
		u = &st.User
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tokens == nil || len(d.tokens) >= maxAnswers {
		d.tokens = map[string]answer[*authenticationv1.UserInfo]{}
	}
	d.tokens[token] = answer[*authenticationv1.UserInfo]{u, now.Add(tokenLife)}
	return u, nil
}

func (d *Delegated) allowed(ctx context.Context, u *authenticationv1.UserInfo, verb, sub string) (bool, error) {
	key := u.Username + "\x00" + strings.Join(u.Groups, "\x00") + "\x00" + verb + "\x00" + sub
	now := time.Now()
	d.mu.Lock()
	a, ok := d.grants[key]
	d.mu.Unlock()
	if ok && now.Before(a.until) {
		return a.value, nil
	}
	extra := map[string]authorizationv1.ExtraValue{}
	for k, v := range u.Extra {
		extra[k] = authorizationv1.ExtraValue(v)
	}
	obj, err := d.Client.Create(ctx, accessReviews, &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: u.Username, Groups: u.Groups, UID: u.UID, Extra: extra,
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Subresource: sub, Name: d.NodeName},
	}}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("review %s's access to nodes/%s: %w", u.Username, sub, err)
	}
	yes := obj.(*authorizationv1.SubjectAccessReview).Status.Allowed
	life := denyLife
	if yes {
		life = allowLife
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.grants == nil || len(d.grants) >= maxAnswers {
		d.grants = map[string]answer[bool]{}
	}
	d.grants[key] = answer[bool]{yes, now.Add(life)}
	return yes, nil
}
