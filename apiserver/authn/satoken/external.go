package satoken

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
)

// An External is a process outside that signs tokens in place of a key of ours. What our own keys have signed still
// counts, and secrets' tokens are signed with them.
type External interface {
	// Sign returns the header and the signature of a token with the payload. All three are in base64.
	Sign(ctx context.Context, payload string) (header, signature string, err error)
	// Keys verify its tokens now.
	Keys() []ExternalKey
	// Search is called for a token whose key is not among them: there may be newer ones.
	Search(ctx context.Context) error
	// MaxAge is how long the keys are good for others.
	MaxAge() time.Duration
}

// An ExternalKey verifies tokens of an External.
type ExternalKey struct {
	ID     string
	Key    crypto.PublicKey
	Hidden bool // others are not told of it
}

// signOutside has the process sign c.
func (s *Signer) signOutside(ctx context.Context, c *claims) (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	payload := base64.RawURLEncoding.EncodeToString(text)
	header, signature, err := s.external.Sign(ctx, payload)
	if err != nil {
		return "", err
	}
	return header + "." + payload + "." + signature, nil
}

// signInside signs c with our own key.
func (s *Signer) signInside(c *claims) (string, error) {
	return jwt.Signed(s.jose).Claims(c).Serialize()
}

// verifying returns the keys that count now.
func (s *Signer) verifying() []publicKey {
	if s.external == nil {
		return s.keys
	}
	var out []publicKey
	for _, k := range s.external.Keys() {
		if alg, err := algorithmOf(k.Key); err == nil { // a key of another kind verifies nothing
			out = append(out, publicKey{id: k.ID, alg: alg, key: k.Key, hidden: k.Hidden})
		}
	}
	return append(out, s.keys...)
}

// published returns the keys that others are told of.
func (s *Signer) published() []publicKey {
	return slices.DeleteFunc(slices.Clone(s.verifying()), func(k publicKey) bool { return k.hidden })
}

// stillCounts says that a key which has verified a token does so now.
func (s *Signer) stillCounts(id string) bool {
	return s.external == nil || slices.ContainsFunc(s.keys, func(k publicKey) bool { return k.id == id }) ||
		slices.ContainsFunc(s.external.Keys(), func(k ExternalKey) bool { return k.ID == id })
}

// Changing says that the keys may change while the process runs.
func (s *Signer) Changing() bool { return s.external != nil }

// MaxAge is how long others may remember the keys.
func (s *Signer) MaxAge() time.Duration {
	if s.external == nil {
		return time.Hour
	}
	return s.external.MaxAge()
}
