package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/keyutil"
)

// PEM block types.
const (
	certBlock = "CERTIFICATE"
)

// EncodeCert returns the PEM form of a certificate.
func EncodeCert(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: certBlock, Bytes: c.Raw})
}

// EncodeKey returns the PEM form of an ECDSA or RSA key.
func EncodeKey(key crypto.Signer) ([]byte, error) {
	data, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, fmt.Errorf("pki: encode key: %w", err)
	}
	return data, nil
}

// EncodePair returns the PEM forms of a pair's leaf certificate and key.
func EncodePair(pair tls.Certificate) (certPEM, keyPEM []byte, err error) {
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || pair.Leaf == nil {
		return nil, nil, errors.New("pki: encode pair: not a parsed pair")
	}
	keyPEM, err = EncodeKey(key)
	return EncodeCert(pair.Leaf), keyPEM, err
}

// ParseCert returns the first certificate of a PEM file.
func ParseCert(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != certBlock {
		return nil, errors.New("no PEM certificate in it")
	}
	return x509.ParseCertificate(block.Bytes)
}

// loadDurableKey loads the key at path, or makes one and syncs it to disk. Those it makes are ECDSA; those that are
// there may be RSA, as kubeadm makes them.
func loadDurableKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return parseKey(path, data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("pki: read key %s: %w", path, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("pki: generate key %s: %w", path, err)
	}
	keyPEM, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, keyPEM, true)
}

func parseKey(path string, data []byte) (crypto.Signer, error) {
	key, err := keyutil.ParsePrivateKeyPEM(data)
	if err != nil {
		return nil, fmt.Errorf("pki: parse key %s: %w; restore it from a backup", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("pki: key %s is of type %T; an ECDSA or RSA key is needed", path, key)
	}
	return signer, nil
}

// writeFile replaces path in one step with a file of mode 0600. With durable the content is on disk
// before the name is; what can be issued again goes without the sync, because a damaged leaf is replaced
// when it is loaded.
func writeFile(path string, data []byte, durable bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".tmp-"+filepath.Base(path)+"-*") // 0600 by contract
	if err != nil {
		return fmt.Errorf("pki: write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("pki: write %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("pki: sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("pki: sync %s: %w", dir, err)
	}
	return nil
}

// Kubeconfig returns a kubeconfig that trusts caPEM at server and acts with pair. name names the
// cluster, the user and the context.
func Kubeconfig(name, server string, caPEM []byte, pair tls.Certificate) ([]byte, error) {
	certPEM, keyPEM, err := EncodePair(pair)
	if err != nil {
		return nil, err
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caPEM}
	cfg.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: certPEM, ClientKeyData: keyPEM}
	cfg.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	cfg.CurrentContext = name
	out, err := clientcmd.Write(*cfg)
	if err != nil {
		return nil, fmt.Errorf("pki: encode kubeconfig %s: %w", name, err)
	}
	return out, nil
}

// WriteKubeconfig writes the administrator's kubeconfig to path, mode 0600, in one step.
func (c *Cluster) WriteKubeconfig(path, name, server string) error {
	data, err := Kubeconfig(name, server, c.CA.CertPEM, c.Admin)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("pki: create directory of %s: %w", path, err)
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == string(data) {
		return os.Chmod(path, 0o600)
	}
	return writeFile(path, data, false)
}

// WriteFile replaces path in one durable step with a file of mode 0600: for the agent's own key files.
func WriteFile(path string, data []byte) error { return writeFile(path, data, true) }
