// Package token keeps the service-account tokens that a node's pods have been given, so that a pod that asks for the same
// twice gets the same, and each is renewed in time.
package token

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// A Request is what a token is to be good for.
type Request struct {
	Audience string // "": the API server
	Seconds  int64  // its life
}

// A Token is one of a pod's.
type Token struct {
	Value   string
	Expires time.Time
	issued  time.Time
}

type key struct {
	pod     types.UID
	request Request
}

// A Cache keeps tokens. Make it with New; its methods may be called concurrently.
type Cache struct {
	client api.Client
	news   chan struct{}

	mu     sync.Mutex
	tokens map[key]Token
}

// New returns a Cache that asks the API for tokens.
func New(c api.Client) *Cache {
	return &Cache{client: c, news: make(chan struct{}, 1), tokens: map[key]Token{}}
}

// News tells that a token has come, which may have to be renewed earlier than all others.
func (c *Cache) News() <-chan struct{} { return c.news }

// maxAge is when a token is renewed at the latest. Upstream's figure.
const maxAge = 24 * time.Hour

// renewAt is when four fifths of the token's life are over.
func (t Token) renewAt() time.Time {
	life := t.Expires.Sub(t.issued)
	return t.issued.Add(min(life*4/5, maxAge))
}

// Get returns a current token of a pod's service account, from memory or from the API.
func (c *Cache) Get(ctx context.Context, pod *corev1.Pod, r Request) (Token, error) {
	k := key{pod.UID, r}
	c.mu.Lock()
	t, ok := c.tokens[k]
	c.mu.Unlock()
	if ok && time.Now().Before(t.renewAt()) {
		return t, nil
	}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &r.Seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if r.Audience != "" {
		req.Spec.Audiences = []string{r.Audience}
	}
	sa := pod.Spec.ServiceAccountName
	if sa == "" {
		sa = "default"
	}
	req.Namespace, req.Name = pod.Namespace, sa
	issued := time.Now()
	obj, err := c.client.CreateSubresource(ctx, api.ServiceAccounts.Resource, pod.Namespace, sa, "token", req)
	if err != nil {
		if ok && issued.Before(t.Expires) {
			return t, nil // the old one still serves; it will be tried again
		}
		return Token{}, err
	}
	st := obj.(*authenticationv1.TokenRequest).Status
	t = Token{Value: st.Token, issued: issued, Expires: st.ExpirationTimestamp.Time}
	c.put(k, t)
	return t, nil
}

// Adopt takes over a token that an earlier agent wrote for a pod, so that a restart of the agent does not ask for all of
// them anew.
func (c *Cache) Adopt(pod types.UID, r Request, text string) {
	if t, ok := parse(text); ok {
		c.put(key{pod, r}, t)
	}
}

func (c *Cache) put(k key, t Token) {
	c.mu.Lock()
	c.tokens[k] = t
	c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// Forget drops the tokens of a pod that is gone.
func (c *Cache) Forget(pod types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.tokens, func(k key, _ Token) bool { return k.pod == pod })
}

// Due returns the pods with a token to be renewed now, and when to ask again at the latest.
func (c *Cache) Due(now time.Time) (due map[types.UID]bool, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next = now.Add(time.Hour)
	due = map[types.UID]bool{}
	for k, t := range c.tokens {
		at := t.renewAt()
		if !now.Before(at) {
			due[k.pod] = true
		} else if at.Before(next) {
			next = at
		}
	}
	return due, next
}

// parse reads a JWT's times. It trusts the file: only root can have written it.
func parse(s string) (Token, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return Token{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return Token{}, false
	}
	var c struct {
		Exp int64 `json:"exp"`
		Iat int64 `json:"iat"`
	}
	if json.Unmarshal(raw, &c) != nil || c.Exp == 0 || c.Iat == 0 {
		return Token{}, false
	}
	return Token{Value: s, issued: time.Unix(c.Iat, 0), Expires: time.Unix(c.Exp, 0)}, true
}
