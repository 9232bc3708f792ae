package satoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/client-go/util/keyutil"
)

// algorithms are those that keys may sign with.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}

// A publicKey verifies tokens. Its id tells which token it is for, and nothing about the key.
type publicKey struct {
	id     string
	alg    jose.SignatureAlgorithm
	key    crypto.PublicKey
	hidden bool // others are not told of it
}

func newPublicKey(key crypto.PublicKey) (publicKey, error) {
	alg, err := algorithmOf(key)
	if err != nil {
		return publicKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return publicKey{}, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return publicKey{id: base64.RawURLEncoding.EncodeToString(sum[:]), alg: alg, key: key}, nil
}

func algorithmOf(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
		return "", errors.New("the curve of an ECDSA key must be P-256, P-384 or P-521")
	}
	return "", fmt.Errorf("a %T cannot sign tokens; give an RSA or ECDSA key", key)
}

// LoadSigningKey reads the private key of a PEM file.
func LoadSigningKey(file string) (crypto.Signer, error) {
	key, err := keyutil.PrivateKeyFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("read signing key %s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("read signing key %s: a %T cannot sign", file, key)
	}
	return signer, nil
}

// LoadPublicKeys reads all keys of PEM files: public keys, certificates, and private keys for their public half.
func LoadPublicKeys(files []string) ([]crypto.PublicKey, error) {
	var out []crypto.PublicKey
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read public keys: %w", err)
		}
		keys, err := keyutil.ParsePublicKeysPEM(data)
		if err != nil {
			return nil, fmt.Errorf("read public keys %s: %w", file, err)
		}
		for _, k := range keys {
			out = append(out, k)
		}
	}
	return out, nil
}

// JWKS returns the JSON web key set with which others check tokens.
func (s *Signer) JWKS() ([]byte, error) {
	set := jose.JSONWebKeySet{}
	for _, k := range s.published() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key, KeyID: k.id, Algorithm: string(k.alg), Use: "sig"})
	}
	return json.Marshal(set)
}

// Discovery returns the OpenID provider configuration. jwksURI is where JWKS is served.
func (s *Signer) Discovery(jwksURI string) ([]byte, error) {
	if err := discoverable(s.Issuer()); err != nil {
		return nil, err
	}
	var algs []string
	for _, k := range s.published() {
		algs = append(algs, string(k.alg))
	}
	slices.Sort(algs)
	return json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKS          string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{s.Issuer(), jwksURI, []string{"id_token"}, []string{"public"}, slices.Compact(algs)})
}

// discoverable says whether OpenID allows an issuer of this name to have a provider configuration.
func discoverable(issuer string) error {
	u, err := url.Parse(issuer)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https":
		return fmt.Errorf("issuer URL must use https scheme, got: %s", issuer)
	case u.RawQuery != "":
		return fmt.Errorf("issuer URL may not include a query, got: %s", issuer)
	case u.Fragment != "":
		return fmt.Errorf("issuer URL may not include a fragment, got: %s", issuer)
	}
	return nil
}
