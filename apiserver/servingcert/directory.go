package servingcert

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"

	"clipper/pki"
)

// The certificate and its key in --cert-dir.
const (
	directoryCert = "apiserver.crt"
	directoryKey  = "apiserver.key"
)

// fromDirectory returns the files of a certificate in dir. If there is none, or one that the authority of the server's
// own certificate has signed before, the own one is put there: that is renewed, and what lies there is not.
func fromDirectory(dir string, own tls.Certificate) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, directoryCert), filepath.Join(dir, directoryKey)
	certPEM, keyPEM, err := pki.EncodePair(own)
	if err != nil {
		return "", "", fmt.Errorf("the server's own certificate: %w", err)
	}
	if key, err := os.ReadFile(keyFile); err != nil || !bytes.Equal(key, keyPEM) { // else it is half of what is written below
		switch there, err := cert.CanReadCertAndKey(certFile, keyFile); {
		case err != nil:
			return "", "", fmt.Errorf("--cert-dir: %w", err)
		case there && !isOwn(certFile, own):
			return certFile, keyFile, nil
		}
	}
	err = os.MkdirAll(dir, 0o755)
	if err == nil {
		err = pki.WriteFile(keyFile, keyPEM)
	}
	if err == nil {
		err = pki.WriteFile(certFile, certPEM)
	}
	if err != nil {
		return "", "", fmt.Errorf("--cert-dir: %w", err)
	}
	return certFile, keyFile, nil
}

// isOwn says whether who has signed own has signed the certificate in a file, too.
func isOwn(file string, own tls.Certificate) bool {
	data, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	found, err := pki.ParseCert(data)
	return err == nil && bytes.Equal(found.RawIssuer, own.Leaf.RawIssuer) && bytes.Equal(found.AuthorityKeyId, own.Leaf.AuthorityKeyId)
}
