package clientcert

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	certutil "k8s.io/client-go/util/cert"
)

// TestFiles: a certificate that is replaced is shown from the next connection on; files that cannot be read change nothing.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	write := func(name string) []byte {
		t.Helper()
		cert, key, err := certutil.GenerateSelfSignedCertKey(name, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string][]byte{certFile: cert, keyFile: key} {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return cert
	}
	if _, err := Files(certFile, keyFile); err == nil {
		t.Error("files that are not there are good")
	}
	write("a")
	identity, err := Files(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() []byte {
		t.Helper()
		c, err := identity(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificate[0]
	}
	first := shown()
	write("b")
	second := shown()
	if bytes.Equal(first, second) {
		t.Error("the certificate that was replaced is shown")
	}
	if err := os.WriteFile(keyFile, []byte("half a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(shown(), second) {
		t.Error("a broken file changes what is shown")
	}
}
