package servingcert

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/component-base/cli/flag"

	"clipper/pki"
)

// files writes a certificate for the names into dir.
func files(t *testing.T, dir, base string, names ...string) (cert, key string) {
	t.Helper()
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := keys.CA.Issue(pki.ServerProfile(base, names))
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := pki.EncodePair(p)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, base+".crt"), filepath.Join(dir, base+".key")
	for path, data := range map[string][]byte{cert: certPEM, key: keyPEM} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func config(t *testing.T) *tls.Config {
	t.Helper()
	dir := t.TempDir()
	cert, key := files(t, dir, "cluster", "kubernetes")
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{own}}
}

func shown(t *testing.T, c *tls.Config, name string) string {
	t.Helper()
	cert, err := c.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.Subject.CommonName
}

func TestChoice(t *testing.T) {
	dir := t.TempDir()
	named := func(base string, explicit []string, names ...string) flag.NamedCertKey {
		cert, key := files(t, dir, base, names...)
		return flag.NamedCertKey{CertFile: cert, KeyFile: key, Names: explicit}
	}
	sni := []flag.NamedCertKey{named("one", nil, "a.example", "*.wild.example"), named("two", nil, "a.example", "b.example"), named("three", []string{"b.example", "*.given.example"}, "c.example")}
	c := config(t)
	if err := Apply(c, Options{SNI: sni}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": "cluster", "kubernetes": "cluster", "a.example": "one", "A.example.": "one", "x.wild.example": "one", "x.y.wild.example": "cluster",
		"b.example": "three", "x.given.example": "three", "c.example": "cluster", "two": "two",
	} {
		if got := shown(t, c, name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	general := config(t)
	cert, key := files(t, dir, "general")
	if err := Apply(general, Options{CertFile: cert, KeyFile: key, SNI: sni}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": "general", "kubernetes": "general", "a.example": "one"} {
		if got := shown(t, general, name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// TestChanged: new files are shown after a while; half-written ones are not.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	cert, key := files(t, dir, "first")
	k, now := &keeper{}, time.Unix(1e9, 0)
	k.now = func() time.Time { return now }
	if err := k.add("--tls-cert-file", cert, key, nil, true); err != nil {
		t.Fatal(err)
	}
	k.looked = now
	c := &tls.Config{GetCertificate: k.get}
	nextCert, nextKey := files(t, dir, "second")
	step := func(from, to, want string) {
		t.Helper()
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, append(data, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(lookEvery)
		if got := shown(t, c, ""); got != want {
			t.Errorf("after writing %s: %s, want %s", to, got, want)
		}
	}
	step(nextCert, cert, "first") // its key is missing
	step(nextKey, key, "second")
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	cert, key := files(t, dir, "a")
	_, other := files(t, dir, "b")
	for _, tt := range []struct {
		o   Options
		err string
	}{
		{Options{MinVersion: "VersionTLS13", CipherSuites: []string{"TLS_AES_128_GCM_SHA256"}}, ""},
		{Options{MinVersion: "1.3"}, `--tls-min-version: unknown tls version "1.3"`},
		{Options{CipherSuites: []string{"X"}}, "--tls-cipher-suites: Cipher suite X not supported or doesn't exist"},
		{Options{CertFile: cert}, "--tls-cert-file and --tls-private-key-file: open "},
		{Options{CertFile: cert, KeyFile: other}, "--tls-cert-file and --tls-private-key-file: tls: private key does not match public key"},
		{Options{SNI: []flag.NamedCertKey{{CertFile: "/none", KeyFile: key}}}, "--tls-sni-cert-key: open /none"},
	} {
		c := config(t)
		err := Apply(c, tt.o)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.err)
		}
	}
}
