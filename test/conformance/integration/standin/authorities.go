package standin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/serviceaccount"
)

// Issuer is that of service-account tokens, unless a test asks for another.
const Issuer = "https://foo.bar.example.com"

// signingKey signs service-account tokens: tests sign some themselves with it. It is public, like that of upstream's tests.
const signingKey = `-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIEZmTmUhuanLjPA2CLquXivuwBDHTt5XYwgIr/kA1LtRoAoGCCqGSM49
AwEHoUQDQgAEH6cuzP8XuD5wal6wf9M6xDljTOPLX2i8uIp/C/ASqiIGUeeKQtX0
/IR3qCXyThP/dbCiHrF3v1cuhBOHY8CLVg==
-----END EC PRIVATE KEY-----
`

// Believe sets whom a server believes to what upstream's tests take for granted: an authority of clients, one of
// front proxies (proxies, unless it is nil) and a signer of service-account tokens, all in files in dir.
func Believe(o *options.ServerRunOptions, dir string, proxies *x509.Certificate) error {
	clients, err := newAuthority("client-ca")
	if err != nil {
		return err
	}
	if proxies == nil {
		if proxies, err = newAuthority("front-proxy-ca"); err != nil {
			return err
		}
	}
	a := o.Authentication
	a.ClientCert.ClientCA, a.RequestHeader.ClientCAFile = filepath.Join(dir, "clients.crt"), filepath.Join(dir, "proxies.crt")
	o.ServiceAccountSigningKeyFile = filepath.Join(dir, "service-account-signing.key")
	a.ServiceAccounts.Issuers, a.ServiceAccounts.KeyFiles = []string{Issuer}, []string{o.ServiceAccountSigningKeyFile}
	for file, content := range map[string][]byte{
		a.ClientCert.ClientCA: certificate(clients), a.RequestHeader.ClientCAFile: certificate(proxies), o.ServiceAccountSigningKeyFile: []byte(signingKey),
	} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Signer makes tokens that a server believes: some tests take upstream's from its configuration.
func Signer(issuer string) (serviceaccount.TokenGenerator, error) {
	key, err := keyutil.ParsePrivateKeyPEM([]byte(signingKey))
	if err != nil {
		return nil, err
	}
	return serviceaccount.JWTTokenGenerator(issuer, key)
}

func newAuthority(name string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return cert.NewSelfSignedCACert(cert.Config{CommonName: name}, key)
}

func certificate(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
