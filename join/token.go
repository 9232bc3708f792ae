// Package join lets a machine become a node. A join token names the cluster by the hash of its authority's
// certificate and proves, by a bootstrap token, that its bearer may join. Join exchanges it for a client
// and a serving certificate through certificate signing requests, as kubelet's TLS bootstrap does; an
// Identity renews them for as long as the node lives.
package join

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"clipper/apiserver/authn"
)

const (
	tokenPrefix  = "K10"
	tokenDivider = "::"
	hashLength   = 64 // of a SHA-256 in hex
	alphabet     = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// A Token is what one needs to join: K10<hash of the authority>::<id>.<secret>, and .<key> to become a server.
type Token struct {
	CAHash     string // hex SHA-256 of the authority's certificate
	ID, Secret string // of the bootstrap token
	Key        string // in hex, to the keys that servers share; empty in a node's token
}

func (t Token) String() string {
	s := tokenPrefix + t.CAHash + tokenDivider + t.Bearer()
	if t.Key != "" {
		s += "." + t.Key
	}
	return s
}

// Bearer is the bootstrap token alone, as it goes into the Authorization header.
func (t Token) Bearer() string { return t.ID + "." + t.Secret }

// ParseToken reads a join token.
func ParseToken(s string) (Token, error) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	hash, bearer, divided := strings.Cut(rest, tokenDivider)
	if !ok || !divided {
		return Token{}, errors.New("join token: not of the form K10<hash>::<id>.<secret>; make one with `clipper token create` on a server")
	}
	if raw, err := hex.DecodeString(hash); err != nil || len(hash) != hashLength || hex.EncodeToString(raw) != hash {
		return Token{}, errors.New("join token: the part before :: is not a hash; copy the whole token that `clipper token create` printed")
	}
	key := ""
	if strings.Count(bearer, ".") == 2 {
		at := strings.LastIndex(bearer, ".")
		bearer, key = bearer[:at], bearer[at+1:]
		if raw, err := hex.DecodeString(key); err != nil || len(raw) != sealBytes || hex.EncodeToString(raw) != key {
			return Token{}, errors.New("join token: its last part is not a key; copy the whole token that `clipper token create --server` printed")
		}
	}
	id, secret, ok := authn.SplitBootstrapToken(bearer)
	if !ok {
		return Token{}, errors.New("join token: the part after :: is not of the form <id>.<secret>; copy the whole token that `clipper token create` printed")
	}
	return Token{CAHash: hash, ID: id, Secret: secret, Key: key}, nil
}

// NewToken makes a token for the cluster whose authority has the given hash.
func NewToken(caHash string) (Token, error) {
	id, err := randomString(6)
	if err != nil {
		return Token{}, err
	}
	secret, err := randomString(16)
	if err != nil {
		return Token{}, err
	}
	return Token{CAHash: caHash, ID: id, Secret: secret}, nil
}

func randomString(n int) (string, error) {
	out := make([]byte, n)
	for i := range out {
		at, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			return "", fmt.Errorf("join token: read random numbers: %w", err)
		}
		out[i] = alphabet[at.Int64()]
	}
	return string(out), nil
}

// BootstrapSecret is the object by which the API server knows the token. A life of 0 means for ever.
func (t Token) BootstrapSecret(life time.Duration, description string, now time.Time) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: authn.BootstrapTokenSecretPrefix + t.ID},
		Type:       authn.BootstrapTokenType,
		Data: map[string][]byte{
			authn.BootstrapTokenID:        []byte(t.ID),
			authn.BootstrapTokenSecret:    []byte(t.Secret),
			authn.BootstrapTokenUsageAuth: []byte("true"),
		},
	}
	if description != "" {
		s.Data[authn.BootstrapTokenDescription] = []byte(description)
	}
	if life > 0 {
		s.Data[authn.BootstrapTokenExpiration] = []byte(now.Add(life).UTC().Format(time.RFC3339))
	}
	return s
}

// CreateToken makes a token and stores it through secrets, those of kube-system.
func CreateToken(ctx context.Context, secrets typedcorev1.SecretInterface, caHash string, life time.Duration, description string) (Token, error) {
	t, err := NewToken(caHash)
	if err != nil {
		return Token{}, err
	}
	if _, err := secrets.Create(ctx, t.BootstrapSecret(life, description, time.Now()), metav1.CreateOptions{}); err != nil {
		return Token{}, fmt.Errorf("join token: store it as a secret in kube-system: %w", err)
	}
	return t, nil
}
