// Package satoken signs and checks service-account tokens: JWTs that name a service account and, if they
// are bound, the pod, secret or node without which they are worth nothing. A token's signature is checked
// once; whether what it is bound to still exists is asked of the live views on every use.
package satoken

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// DefaultIssuer is the issuer of tokens unless the server is told another; also their default audience.
const DefaultIssuer = "https://kubernetes.default.svc.cluster.local"

// LegacyIssuer is the issuer of the unbound tokens in secrets of type kubernetes.io/service-account-token.
const LegacyIssuer = "kubernetes/serviceaccount"

// A Ref names the object that a token is bound to.
type Ref struct {
	Name string    `json:"name"`
	UID  types.UID `json:"uid,omitempty"`
}

// private is the claim "kubernetes.io" of bound tokens.
type private struct {
	Namespace      string           `json:"namespace,omitempty"`
	Node           *Ref             `json:"node,omitempty"`
	Pod            *Ref             `json:"pod,omitempty"`
	Secret         *Ref             `json:"secret,omitempty"`
	ServiceAccount Ref              `json:"serviceaccount,omitempty"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

// audience is written as an array even if it is a single name, as upstream's tokens have it; read are both.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(b []byte) error { return (*jwt.Audience)(a).UnmarshalJSON(b) }

// claims is everything a token of either form can say.
type claims struct {
	jwt.Claims
	Audience   audience `json:"aud,omitempty"`
	Kubernetes *private `json:"kubernetes.io,omitempty"`
	keyID      string   // of the key that verified it

	LegacyNamespace  string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	LegacySecretName string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	LegacyName       string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	LegacyUID        types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// Options say which names and keys the tokens of a cluster have.
type Options struct {
	Key       crypto.Signer      // signs: an RSA or ECDSA key
	Verify    []crypto.PublicKey // of tokens that are accepted beside those of Key: the keys before and after a rotation
	Issuers   []string           // that are accepted; the first is that of new tokens. None: DefaultIssuer
	Audiences []string           // of the API server; none: Issuers
	External  External           // signs bound tokens in place of Key; nil: nobody does
}

// A Signer makes tokens and verifies their signatures.
type Signer struct {
	issuers   []string
	audiences []string
	keys      []publicKey // that verify, the signing one first
	jose      jose.Signer
	external  External // nil: there is none
}

// NewSigner returns a Signer.
func NewSigner(o Options) (*Signer, error) {
	s := &Signer{issuers: o.Issuers, audiences: o.Audiences, external: o.External}
	if len(s.issuers) == 0 {
		s.issuers = []string{DefaultIssuer}
	}
	if len(s.audiences) == 0 {
		s.audiences = s.issuers
	}
	for _, key := range append([]crypto.PublicKey{o.Key.Public()}, o.Verify...) {
		k, err := newPublicKey(key)
		if err != nil {
			return nil, fmt.Errorf("service-account tokens: %w", err)
		}
		if !slices.ContainsFunc(s.keys, func(have publicKey) bool { return have.id == k.id }) {
			s.keys = append(s.keys, k)
		}
	}
	own := s.keys[0]
	var err error
	s.jose, err = jose.NewSigner(jose.SigningKey{Algorithm: own.alg,
		Key: jose.JSONWebKey{Key: o.Key, KeyID: own.id, Algorithm: string(own.alg)}}, nil)
	if err != nil {
		return nil, fmt.Errorf("service-account tokens: prepare signer: %w", err)
	}
	return s, nil
}

// Issuer returns what new tokens name as their issuer.
func (s *Signer) Issuer() string { return s.issuers[0] }

// Issuers returns every issuer whose tokens are accepted.
func (s *Signer) Issuers() []string { return s.issuers }

// Audiences returns the names of the API server: what tokens are for that say nothing else.
func (s *Signer) Audiences() []string { return s.audiences }

// A Binding says what a new token is for and bound to. At most one of Pod, Secret and Node binds it; with
// a Pod, Node is recorded as well.
type Binding struct {
	ServiceAccount    *corev1.ServiceAccount
	Pod, Secret, Node *Ref
	Audiences         []string // empty: the API server's
	Life              time.Duration
	WarnAfter         time.Duration // 0: no warning
}

// Sign makes a bound token that begins at now. It returns its expiry and its credential id as well.
func (s *Signer) Sign(ctx context.Context, b Binding, now time.Time) (token string, expires time.Time, id string, err error) {
	sa := b.ServiceAccount
	if len(b.Audiences) == 0 {
		b.Audiences = s.audiences
	}
	expires = now.Add(b.Life)
	c := claims{
		Claims: jwt.Claims{
			Issuer:    s.Issuer(),
			Subject:   serviceaccount.MakeUsername(sa.Namespace, sa.Name),
			Expiry:    jwt.NewNumericDate(expires),
			NotBefore: jwt.NewNumericDate(now),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        uuid.NewString(),
		},
		Audience: b.Audiences,
		Kubernetes: &private{
			Namespace:      sa.Namespace,
			ServiceAccount: Ref{Name: sa.Name, UID: sa.UID},
			Pod:            b.Pod, Secret: b.Secret, Node: b.Node,
		},
	}
	if b.WarnAfter > 0 {
		c.Kubernetes.WarnAfter = jwt.NewNumericDate(now.Add(b.WarnAfter))
	}
	if s.external != nil {
		token, err = s.signOutside(ctx, &c)
	} else {
		token, err = s.signInside(&c)
	}
	if err != nil {
		return "", time.Time{}, "", err // clients read it as it is
	}
	return token, expires, "JTI=" + c.ID, nil
}

// SignLegacy makes the unbound token of a secret of type kubernetes.io/service-account-token.
func (s *Signer) SignLegacy(sa *corev1.ServiceAccount, secret string) (string, error) {
	token, err := s.signInside(&claims{
		Claims:          jwt.Claims{Issuer: LegacyIssuer, Subject: serviceaccount.MakeUsername(sa.Namespace, sa.Name)},
		LegacyNamespace: sa.Namespace, LegacySecretName: secret, LegacyName: sa.Name, LegacyUID: sa.UID,
	})
	if err != nil {
		return "", fmt.Errorf("service-account tokens: sign for secret %s/%s: %w", sa.Namespace, secret, err)
	}
	return token, nil
}

// errNotOurs says that a token is of another issuer: another authenticator may know it.
var errNotOurs = errors.New("token has another issuer")

// maxTokenLength bounds what is parsed. Real tokens are about 1 KB.
const maxTokenLength = 16 << 10

// verify checks the form and the signature of a token, but neither its times nor what it is bound to.
func (s *Signer) verify(ctx context.Context, token string) (*claims, error) {
	if len(token) > maxTokenLength {
		return nil, errors.New("token is too long")
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, errNotOurs
	}
	var peek jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&peek); err != nil {
		return nil, errNotOurs
	}
	if !slices.Contains(s.issuers, peek.Issuer) && peek.Issuer != LegacyIssuer {
		return nil, errNotOurs
	}
	c, err := s.signed(parsed)
	if errors.Is(err, errNoKey) && s.external != nil {
		if err := s.external.Search(ctx); err != nil {
			return nil, err
		}
		c, err = s.signed(parsed)
	}
	if err != nil {
		return nil, err
	}
	if c.Issuer != LegacyIssuer && (c.Kubernetes == nil || c.Expiry == nil) {
		return nil, errors.New("token has no kubernetes.io claim or no expiry")
	}
	return c, nil
}

// signed returns the claims if one of the keys signed them: the one that the token names or, if it names none, any.
func (s *Signer) signed(token *jwt.JSONWebToken) (*claims, error) {
	id := ""
	if len(token.Headers) > 0 {
		id = token.Headers[0].KeyID
	}
	var faults []error
	for _, k := range s.verifying() {
		if id != "" && id != k.id {
			continue
		}
		c := &claims{}
		if err := token.Claims(k.key, c); err != nil {
			faults = append(faults, err)
			continue
		}
		c.keyID = k.id
		return c, nil
	}
	if faults == nil {
		return nil, errNoKey
	}
	return nil, utilerrors.NewAggregate(faults)
}

var errNoKey = errors.New("invalid signature, no keys found")

// intersect returns the audiences that both lists have, in the order of want.
func intersect(want, have []string) []string {
	var out []string
	for _, a := range want {
		if slices.Contains(have, a) {
			out = append(out, a)
		}
	}
	return out
}
