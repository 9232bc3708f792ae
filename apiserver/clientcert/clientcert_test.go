package clientcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// TestConnectionsEnd: connections end when the certificate that was shown on them is replaced, and not before.
func TestConnectionsEnd(t *testing.T) {
	certFile, keyFile := filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	write(t, certFile, keyFile, "a")
	source, err := Files(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = source.Run(ctx) })
	defer running.Wait()
	defer cancel()
	there, here := net.Pipe()
	defer there.Close()
	conn, err := source.Dial(func(context.Context, string, string) (net.Conn, error) { return here, nil })(ctx, "tcp", "")
	if err != nil {
		t.Fatal(err)
	}
	source.look(ctx)
	running.Go(func() { _, _ = there.Write([]byte("x")) })
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the connection has ended though nothing has changed: %v", err)
	}
	write(t, certFile, keyFile, "b")
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a minute later the connection is there: %v", err)
	}
	if fixed := Fixed(tls.Certificate{}); fixed.Dial(nil) != nil || fixed.Run(ctx) != nil {
		t.Error("a certificate that does not change follows something")
	}
}

// write makes a certificate for name and returns it.
func write(t *testing.T, certFile, keyFile, name string) []byte {
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

// TestFiles: a certificate that is replaced is shown from the next connection on; files that cannot be read change nothing.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	if _, err := Files(certFile, keyFile); err == nil {
		t.Error("files that are not there are good")
	}
	write(t, certFile, keyFile, "a")
	source, err := Files(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	shown := func() []byte {
		t.Helper()
		c, err := source.Identity(nil)
		if err != nil {
			t.Fatal(err)
		}
		return c.Certificate[0]
	}
	first := shown()
	write(t, certFile, keyFile, "b")
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
