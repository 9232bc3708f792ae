// Package satoken signs and checks service-account tokens: JWTs that name a service account and, if they
// are bound, the pod, secret or node without which they are worth nothing. A token's signature is checked
// once; whether what it is bound to still exists is asked of the live views on every use.
package satoken

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
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

// claims is everything a token of either form can say.
type claims struct {
	jwt.Claims
	Kubernetes *private `json:"kubernetes.io,omitempty"`

	LegacyNamespace  string    `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	LegacySecretName string    `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	LegacyName       string    `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	LegacyUID        types.UID `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// A Signer makes tokens and verifies their signatures.
type Signer struct {
	issuer string
	keyID  string
	pub    *ecdsa.PublicKey
	jose   jose.Signer
}

// NewSigner returns a Signer for key. An empty issuer means DefaultIssuer.
func NewSigner(key *ecdsa.PrivateKey, issuer string) (*Signer, error) {
	if issuer == "" {
		issuer = DefaultIssuer
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("service-account tokens: encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	keyID := base64.RawURLEncoding.EncodeToString(sum[:])
	js, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256,
		Key: jose.JSONWebKey{Key: key, KeyID: keyID, Algorithm: string(jose.ES256)}}, nil)
	if err != nil {
		return nil, fmt.Errorf("service-account tokens: prepare signer: %w", err)
	}
	return &Signer{issuer: issuer, keyID: keyID, pub: &key.PublicKey, jose: js}, nil
}

// Issuer returns what the tokens name as their issuer.
func (s *Signer) Issuer() string { return s.issuer }

// A Binding says what a new token is for and bound to. At most one of Pod, Secret and Node binds it; with
// a Pod, Node is recorded as well.
type Binding struct {
	ServiceAccount    *corev1.ServiceAccount
	Pod, Secret, Node *Ref
	Audiences         []string // empty: the issuer itself
	Life              time.Duration
	WarnAfter         time.Duration // 0: no warning
}

// Sign makes a bound token that begins at now. It returns its expiry and its credential id as well.
func (s *Signer) Sign(b Binding, now time.Time) (token string, expires time.Time, id string, err error) {
	sa := b.ServiceAccount
	if len(b.Audiences) == 0 {
		b.Audiences = []string{s.issuer}
	}
	expires = now.Add(b.Life)
	c := claims{
		Claims: jwt.Claims{
			Issuer:    s.issuer,
			Subject:   serviceaccount.MakeUsername(sa.Namespace, sa.Name),
			Audience:  b.Audiences,
			Expiry:    jwt.NewNumericDate(expires),
			NotBefore: jwt.NewNumericDate(now),
			IssuedAt:  jwt.NewNumericDate(now),
			ID:        uuid.NewString(),
		},
		Kubernetes: &private{
			Namespace:      sa.Namespace,
			ServiceAccount: Ref{Name: sa.Name, UID: sa.UID},
			Pod:            b.Pod, Secret: b.Secret, Node: b.Node,
		},
	}
	if b.WarnAfter > 0 {
		c.Kubernetes.WarnAfter = jwt.NewNumericDate(now.Add(b.WarnAfter))
	}
	token, err = jwt.Signed(s.jose).Claims(c).Serialize()
	if err != nil {
		return "", time.Time{}, "", fmt.Errorf("service-account tokens: sign for %s: %w", c.Subject, err)
	}
	return token, expires, "JTI=" + c.ID, nil
}

// SignLegacy makes the unbound token of a secret of type kubernetes.io/service-account-token.
func (s *Signer) SignLegacy(sa *corev1.ServiceAccount, secret string) (string, error) {
	token, err := jwt.Signed(s.jose).Claims(claims{
		Claims:          jwt.Claims{Issuer: LegacyIssuer, Subject: serviceaccount.MakeUsername(sa.Namespace, sa.Name)},
		LegacyNamespace: sa.Namespace, LegacySecretName: secret, LegacyName: sa.Name, LegacyUID: sa.UID,
	}).Serialize()
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
func (s *Signer) verify(token string) (*claims, error) {
	if len(token) > maxTokenLength {
		return nil, errors.New("token is too long")
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, errNotOurs
	}
	var peek jwt.Claims
	if err := parsed.UnsafeClaimsWithoutVerification(&peek); err != nil {
		return nil, errNotOurs
	}
	if peek.Issuer != s.issuer && peek.Issuer != LegacyIssuer {
		return nil, errNotOurs
	}
	var c claims
	if err := parsed.Claims(s.pub, &c); err != nil {
		return nil, fmt.Errorf("token signature is not ours: %w", err)
	}
	if c.Issuer == s.issuer && (c.Kubernetes == nil || c.Expiry == nil) {
		return nil, errors.New("token has no kubernetes.io claim or no expiry")
	}
	return &c, nil
}

// JWKS returns the JSON web key set with which others check tokens.
func (s *Signer) JWKS() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: s.pub, KeyID: s.keyID, Algorithm: string(jose.ES256), Use: "sig"}}})
}

// Discovery returns the OpenID provider configuration. jwksURI is where JWKS is served.
func (s *Signer) Discovery(jwksURI string) ([]byte, error) {
	return json.Marshal(map[string]any{
		"issuer":                                s.issuer,
		"jwks_uri":                              jwksURI,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(jose.ES256)},
	})
}

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
