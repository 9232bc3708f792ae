package wire

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clipper/node/runtime"
)

// pair returns two connected ends, through a socket in a directory deeper than a socket address is long.
func pair(t testing.TB) (a, b *Conn) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if st, err := os.Stat(filepath.Join(dir, SocketName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", st.Mode(), err)
	}
	if a, err = Dial(dir); err != nil {
		t.Fatal(err)
	}
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	b = NewConn(c)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestFilesTravel(t *testing.T) {
	a, b := pair(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	big := strings.Repeat("x", 300_000) // more than the socket's buffer: sent in pieces
	sent := make(chan error, 2)
	go func() {
		sent <- a.Send(&Request{Op: OpStart, ID: big})
		sent <- a.Send(&Request{Op: OpExec, ID: "second"}, w, w)
		w.Close()
	}()
	var req Request
	files, err := b.Receive(&req)
	if err != nil || req.ID != big || len(files) != 0 {
		t.Fatalf("first: %v, %d bytes, %d files", err, len(req.ID), len(files))
	}
	files, err = b.Receive(&req)
	if err != nil || req.ID != "second" || len(files) != 2 {
		t.Fatalf("second: %v, %+v, %d files", err, req, len(files))
	}
	if _, err := files[1].WriteString("through"); err != nil {
		t.Error(err)
	}
	CloseAll(files)
	for range 2 {
		if err := <-sent; err != nil {
			t.Error(err)
		}
	}
	if got, err := io.ReadAll(r); string(got) != "through" || err != nil {
		t.Errorf("%q %v", got, err)
	}
	a.Close()
	if _, err := b.Receive(&req); !errors.Is(err, io.EOF) {
		t.Errorf("after close: %v", err)
	}
}

func TestErrorsKeepTheirKind(t *testing.T) {
	err := AsError(errors.Join(errors.New("while stopping"), NotFound("container", "x")))
	if !errors.Is(err, runtime.ErrNotFound) || !strings.Contains(err.Error(), `container "x": not found`) {
		t.Errorf("%v", err)
	}
	if errors.Is(AsError(errors.New("other")), runtime.ErrNotFound) {
		t.Error("any error is taken for not found")
	}
}

// FuzzReceive: whatever comes in, Receive returns.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0})
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := pair(t)
		if _, err := a.c.Write(in); err != nil {
			t.Fatal(err)
		}
		a.Close()
		for {
			var req Request
			files, err := b.Receive(&req)
			CloseAll(files)
			if err != nil {
				return
			}
		}
	})
}
