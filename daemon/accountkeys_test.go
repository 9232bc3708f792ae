package daemon

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/client-go/util/keyutil"
)

// TestAccountKeys: an operator who says which keys verify tokens can stop believing the cluster's own.
func TestAccountKeys(t *testing.T) {
	own, first, second := newKey(t), newKey(t), newKey(t)
	private, public := writeKey(t, first), writeKey(t, second)
	for _, tt := range []struct {
		name   string
		o      IdentityOptions
		sign   *ecdsa.PrivateKey
		verify []*ecdsa.PrivateKey
	}{
		{"no flags", IdentityOptions{}, own, nil},
		{"one that signs", IdentityOptions{SigningKeyFile: private}, first, []*ecdsa.PrivateKey{own}},
		{"more that verify", IdentityOptions{KeyFiles: []string{public}}, own, []*ecdsa.PrivateKey{second}},
		{"all of them", IdentityOptions{SigningKeyFile: private, KeyFiles: []string{private, public}}, first, []*ecdsa.PrivateKey{first, second}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sign, verify, err := tt.o.accountKeys(own)
			if err != nil || !tt.sign.Equal(sign) {
				t.Fatalf("%v, signs %v", err, sign)
			}
			if !slices.EqualFunc(tt.verify, verify, func(want *ecdsa.PrivateKey, have crypto.PublicKey) bool { return want.PublicKey.Equal(have) }) {
				t.Errorf("%d keys verify: %v", len(verify), verify)
			}
		})
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func writeKey(t *testing.T, key *ecdsa.PrivateKey) string {
	text, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
