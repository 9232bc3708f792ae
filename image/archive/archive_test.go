package archive

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

func writeTemp(t testing.TB, b []byte) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func sample(t testing.TB) []byte {
	t.Helper()
	img, err := random.Image(300, 2)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := Write(&buf, []Entry{{Names: []string{"docker.io/library/a:1"}, Image: img}}); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func TestRoundTripKeepsDigests(t *testing.T) {
	img, err := random.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := Write(&buf, []Entry{{Names: []string{"docker.io/library/a:1", "quay.io/b/c:2"}, Image: img}, {Image: img}}); err != nil {
		t.Fatal(err)
	}
	r, err := Open(writeTemp(t, buf.Bytes()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// The platform of a random image is empty, which every reader takes.
	entries, err := r.Images("amd64")
	if err != nil || len(entries) != 1 || len(entries[0].Names) != 2 {
		t.Fatalf("entries %+v, %v", entries, err)
	}
	want, _ := img.Digest()
	if got, err := entries[0].Image.Digest(); err != nil || got != want {
		t.Errorf("digest %v, %v, want %v", got, err, want)
	}
}

func TestDigestsAreChecked(t *testing.T) {
	b := sample(t)
	for _, what := range []string{"\"schemaVersion\"", "\"architecture\""} {
		at := bytes.Index(b, []byte(what))
		if at < 0 {
			continue
		}
		broken := bytes.Clone(b)
		broken[at+1] = 'X'
		r, err := Open(writeTemp(t, broken), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		entries, err := r.Images("amd64")
		if err == nil {
			_, err = entries[0].Image.ConfigFile()
		}
		if err == nil {
			t.Errorf("a changed byte in %s went unnoticed", what)
		}
		r.Close()
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(writeTemp(t, b), t.TempDir())
		if err != nil {
			return
		}
		defer r.Close()
		entries, err := r.Images("amd64")
		if err != nil {
			return
		}
		for _, e := range entries {
			readAll(e.Image)
		}
	})
}

func readAll(img v1.Image) {
	layers, err := img.Layers()
	if err != nil {
		return
	}
	for _, l := range layers {
		if rc, err := l.Compressed(); err == nil {
			io.Copy(io.Discard, rc)
			rc.Close()
		}
	}
	img.ConfigFile()
}
