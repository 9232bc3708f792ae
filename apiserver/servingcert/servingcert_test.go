package servingcert

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	if _, err := Apply(c, Options{SNI: sni}); err != nil {
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
	if _, err := Apply(general, Options{CertFile: cert, KeyFile: key, SNI: sni}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"": "general", "kubernetes": "general", "a.example": "one", LoopbackName: "cluster"} {
		if got := shown(t, general, name); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

// write puts what from has into to, all at once.
func write(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestChanged: new files are shown; half-written ones are not.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	cert, key := files(t, dir, "first")
	c := config(t)
	f, err := Apply(c, Options{CertFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	nextCert, nextKey := files(t, dir, "second")
	write(t, nextCert, cert)
	if changed, err := f.pairs[0].load(); changed || err == nil || shown(t, c, "") != "first" {
		t.Errorf("changed %v, %v: %s without its key", changed, err, shown(t, c, ""))
	}
	write(t, nextKey, key)
	if changed, err := f.pairs[0].load(); !changed || err != nil || shown(t, c, "") != "second" {
		t.Errorf("changed %v, %v: %s", changed, err, shown(t, c, ""))
	}
	if changed, err := f.pairs[0].load(); changed || err != nil {
		t.Errorf("changed %v, %v: nothing has", changed, err)
	}
}

// TestFollowed: what runs takes over new files by itself.
func TestFollowed(t *testing.T) {
	dir := t.TempDir()
	cert, key := files(t, dir, "first")
	c := config(t)
	f, err := Apply(c, Options{CertFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	nextCert, nextKey := files(t, t.TempDir(), "second")
	write(t, nextCert, cert)
	write(t, nextKey, key)
	for deadline, tick := time.After(30*time.Second), time.Tick(5*time.Millisecond); shown(t, c, "") != "second"; {
		select {
		case <-tick:
		case <-deadline:
			t.Fatal("the new certificate is not shown")
		}
	}
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestSlowDisk: clients get a certificate while the files cannot be read.
func TestSlowDisk(t *testing.T) {
	cert, key := files(t, t.TempDir(), "first")
	c := config(t)
	f, err := Apply(c, Options{CertFile: cert, KeyFile: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(cert, 0o600); err != nil { // whoever opens it waits for a writer
		t.Fatal(err)
	}
	read := make(chan error)
	go func() { _, err := f.pairs[0].load(); read <- err }()
	disk, err := os.OpenFile(cert, os.O_WRONLY, 0) // returns when load waits for what is in it
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(t, c, ""); got != "first" {
		t.Errorf("%s is shown", got)
	}
	disk.Close()
	if err := <-read; err == nil {
		t.Error("an empty certificate was read")
	}
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
		_, err := Apply(c, tt.o)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%+v: %v, want %q", tt.o, err, tt.err)
		}
	}
}
