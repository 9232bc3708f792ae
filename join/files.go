package join

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"clipper/pki"
)

// install puts the pair in place, certificate first. Whoever is stopped in between finishes when it loads.
func (id *Identity) install(base string, key *ecdsa.PrivateKey, certPEM []byte) (tls.Certificate, error) {
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("join: the signed certificate does not fit its key: %w", err)
	}
	if err := pki.WriteFile(id.path(base, "crt"), certPEM); err != nil {
		return tls.Certificate{}, err
	}
	if err := os.Rename(id.path(base, "key.new"), id.path(base, "key")); err != nil {
		return tls.Certificate{}, fmt.Errorf("join: put the new key in place: %w", err)
	}
	return pair, nil
}

// finish completes an install that was stopped half-way.
func (id *Identity) finish(base string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(id.path(base, "crt"), id.path(base, "key.new"))
	if err != nil {
		return pair, err
	}
	return pair, os.Rename(id.path(base, "key.new"), id.path(base, "key"))
}

// pendingKey returns the key of a request that may be under way already, or a new one.
func (id *Identity) pendingKey(base string) (*ecdsa.PrivateKey, error) {
	path := id.path(base, "key.new")
	if data, err := os.ReadFile(path); err == nil {
		if block, _ := pem.Decode(data); block != nil {
			if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
				return key, nil
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("join: generate key: %w", err)
	}
	keyPEM, err := pki.EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, pki.WriteFile(path, keyPEM)
}
