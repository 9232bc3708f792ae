package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// sealedPrefix marks an encrypted value. It is upstream's mark of its AES-GCM provider, with our key's name.
const sealedPrefix = "k8s:enc:aesgcm:v1:clipper:"

// A sealer encrypts the values of some resources with AES-256-GCM. The log path is bound in as
// additional data: a value moved to another key does not open.
type sealer struct {
	file      string
	resources []string
	aead      cipher.AEAD // nil: no key
}

func openSealer(o Options) (*sealer, error) {
	s := &sealer{file: o.KeyFile, resources: o.Encrypt}
	if s.file == "" {
		s.resources = nil
		return s, nil
	}
	text, err := os.ReadFile(s.file)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil // ensureKey makes it, if nothing in the log needs the one that is missing
	}
	if err != nil {
		return nil, fmt.Errorf("read encryption key: %w", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("read encryption key %s: not 64 hexadecimal digits; restore it from a backup", s.file)
	}
	s.aead, err = newAEAD(key)
	return s, err
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ensureKey makes a key if there is none.
func (s *sealer) ensureKey() error {
	if s.aead != nil || s.file == "" {
		return nil
	}
	key := make([]byte, 32)
	rand.Read(key) // never fails
	if err := writeKey(s.file, key); err != nil {
		return fmt.Errorf("write encryption key: %w", err)
	}
	var err error
	s.aead, err = newAEAD(key)
	return err
}

// writeKey makes the file whole and durable before anything is encrypted with it.
func writeKey(file string, key []byte) (err error) {
	dir := filepath.Dir(file)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (s *sealer) seal(resource, path string, plain []byte) ([]byte, error) {
	if !slices.Contains(s.resources, resource) {
		return plain, nil
	}
	out := make([]byte, len(sealedPrefix), len(sealedPrefix)+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	copy(out, sealedPrefix)
	nonce := out[len(out) : len(out)+s.aead.NonceSize()]
	rand.Read(nonce)
	return s.aead.Seal(out[:len(out)+len(nonce)], nonce, plain, []byte(path)), nil
}

func (s *sealer) open(path string, value []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(value, []byte(sealedPrefix))
	if !ok {
		return value, nil
	}
	if s.aead == nil {
		return nil, fmt.Errorf("it is encrypted and there is no key; restore the key file %q", s.file)
	}
	n := s.aead.NonceSize()
	if len(rest) < n {
		return nil, errors.New("encrypted value is cut short")
	}
	plain, err := s.aead.Open(nil, rest[:n], rest[n:], []byte(path))
	if err != nil {
		return nil, fmt.Errorf("decrypt: damaged, or not encrypted with the key in %s: %w", s.file, err)
	}
	return plain, nil
}
