package servingcert

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clipper/pki"
)

// TestDirectory: the certificate in --cert-dir is shown; without one, or with an older one of the server's own, the
// server's own is put there.
func TestDirectory(t *testing.T) {
	keys, err := pki.LoadOrCreate(t.TempDir(), pki.Options{})
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string) (certPEM, keyPEM []byte) {
		t.Helper()
		pair, err := keys.CA.Issue(pki.ServerProfile(name, nil))
		if err == nil {
			certPEM, keyPEM, err = pki.EncodePair(pair)
		}
		if err != nil {
			t.Fatal(err)
		}
		return certPEM, keyPEM
	}
	_, ownKey, err := pki.EncodePair(keys.Serving)
	if err != nil {
		t.Fatal(err)
	}
	olderCert, olderKey := issue("older")
	own := keys.Serving.Leaf.Subject.CommonName
	for name, tt := range map[string]struct {
		prepare func(dir string)
		want    string
	}{
		"empty":                   {func(string) {}, own},
		"not there":               {func(dir string) { os.Remove(dir) }, own},
		"the operator's":          {func(dir string) { files(t, dir, "apiserver") }, "apiserver"},
		"of the server's own":     {func(dir string) { fill(t, dir, olderCert, olderKey) }, own},
		"half written":            {func(dir string) { fill(t, dir, nil, ownKey) }, own},
		"no key":                  {func(dir string) { fill(t, dir, olderCert, nil) }, "certificate and key must be supplied as a pair"},
		"no certificate":          {func(dir string) { fill(t, dir, nil, olderKey) }, "certificate and key must be supplied as a pair"},
		"what is no certificate":  {func(dir string) { fill(t, dir, []byte("a"), []byte("b")) }, "failed to find any PEM data"},
		"what cannot be a folder": {func(dir string) { os.Remove(dir); os.WriteFile(dir, nil, 0o600) }, "not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "certs")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			tt.prepare(dir)
			for range 2 { // the next start finds what the first has left
				c := config(t)
				c.Certificates[0] = keys.Serving
				if _, err := Apply(c, Options{CertDir: dir}); err != nil {
					if !strings.Contains(err.Error(), tt.want) {
						t.Error(err)
					}
					return
				}
				if got := shown(t, c, "any"); got != tt.want {
					t.Errorf("%s is shown, want %s", got, tt.want)
				}
			}
		})
	}
}

func fill(t *testing.T, dir string, certPEM, keyPEM []byte) {
	t.Helper()
	for name, data := range map[string][]byte{directoryCert: certPEM, directoryKey: keyPEM} {
		if data == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
