package encrypt

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// FuzzConfiguration: a file that a server takes can be read to change it; its keys can be rotated, at any stage, without a
// value that could be read before it being lost; and what is written at the end the server takes as well.
func FuzzConfiguration(f *testing.F) {
	const header = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
	const second = "{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}"
	const made = "{name: key-20200101t000000, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}"
	one := strings.TrimSuffix(oneKey, "]")
	for _, text := range []string{
		header + "- {resources: [secrets], providers: [{aescbc: {" + oneKey + "}}, {identity: {}}]}\n",
		header + "- {resources: [secrets, configmaps.], providers: [{aesgcm: {" + one + "," + second + "]}}, {aescbc: {" + oneKey + "}}]}\n",
		header + "- {resources: ['*.apps'], providers: [{secretbox: {" + oneKey + "}}]}\n- {resources: ['*.*'], providers: [{identity: {}}]}\n",
		header + "- {resources: [secrets], providers: [{secretbox: {" + one + "," + made + "]}}]}\n", header + "- {resources: [secrets], providers: [{secretbox: {keys: [" + made + "," + second + "]}}]}\n",
		header + "- {resources: [secrets], providers: [{kms: {apiVersion: v2, name: k, endpoint: 'unix:///nowhere'}}]}\n",
		header + "- {resources: [secrets, secrets], providers: [{identity: {}, aescbc: {keys: []}}]}\n", header + "- {resources: ['*.*', pods], providers: [{}]}\n",
		"apiVersion: v1\nkind: EncryptionConfig\nresources: [{resources: [secrets], providers: [{identity: {}}]}]\n", "resources: &a [*a]", header + "[]", "\xff",
	} {
		f.Add([]byte(text))
	}
	file := filepath.Join(f.TempDir(), "encryption.yaml")
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(bytes.ToLower(text), []byte("kms")) {
			_, _ = parse(file, text) // nothing shall be contacted
			return
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := Open(t.Context(), file, "fuzz")
		if err != nil {
			return
		}
		value := written(t, p)
		now := time.Unix(2e9, 0)
		for range 3 {
			at := advance(t, p, file, now)
			if at < 0 {
				return // there is no key to rotate
			}
			if plain, err := p.Open(secrets, "path", value); err != nil || string(plain) != "plain" {
				t.Fatalf("%q: after %s what was written before is %q: %v", text, at, plain, err)
			}
			if at == Prepared { // now everything is written anew
				value = written(t, p)
			}
		}
	})
}

// written is a value as the server writes it now, and can read it.
func written(t *testing.T, p *Providers) []byte {
	t.Helper()
	for _, r := range []schema.GroupResource{secrets, {Group: "apps", Resource: "deployments"}} {
		sealed, err := p.Seal(t.Context(), r, "path", []byte("plain"))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := p.Open(r, "path", sealed); err != nil || string(plain) != "plain" {
			t.Fatalf("%s opened to %q: %v", r, plain, err)
		}
	}
	sealed, _ := p.Seal(t.Context(), secrets, "path", []byte("plain"))
	return sealed
}

// advance takes file one stage further, and returns the stage that it left, or -1 if it has no keys.
func advance(t *testing.T, p *Providers, file string, now time.Time) Stage {
	t.Helper()
	c, err := ReadFile(file)
	if err != nil {
		t.Fatalf("the server reads it: %v", err)
	}
	at, err := c.Stage()
	if err != nil {
		return -1
	}
	if err := c.Advance(at, now); err != nil {
		t.Fatal(err)
	}
	if err := p.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	return at
}

// FuzzKMS: no value makes opening it panic, whatever envelope it seems to be, and none opens to what was not sealed.
func FuzzKMS(f *testing.F) {
	_, file, socket := servePlugin(f)
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{kms: {apiVersion: v2, name: box, endpoint: 'unix://" + socket + "'}}]}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	f.Cleanup(stop)
	p, err := Open(ctx, file, "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	if err := p.Await(ctx, 30*time.Second); err != nil {
		f.Fatal(err)
	}
	const prefix = kmsPrefix + "box:"
	sealed, err := p.Seal(f.Context(), secrets, "path", []byte("plain"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimPrefix(sealed, []byte(prefix)), uint16(0))
	f.Add(bytes.TrimPrefix(sealed, []byte(prefix)), uint16(40))
	f.Add([]byte("\x12\x01k"), uint16(1))
	f.Add([]byte("\x0a\x05plain\x12\x011\x1a\x02xx\x28\x01"), uint16(1<<8|3))
	f.Add([]byte{}, uint16(9))
	f.Fuzz(func(t *testing.T, envelope []byte, at uint16) {
		value := append([]byte(prefix), envelope...)
		if opened, err := p.Open(secrets, "path", value); err == nil && !bytes.Equal(opened, []byte("plain")) {
			t.Errorf("%q opened to %q", value, opened)
		}
		if mark := p.Mark(value); !strings.HasPrefix(mark, prefix) {
			t.Errorf("mark %q of %q", mark, value)
		}
		sealed, err := p.Seal(t.Context(), secrets, "path", envelope)
		if err != nil {
			t.Fatal(err)
		}
		if opened, err := p.Open(secrets, "path", sealed); err != nil || !bytes.Equal(opened, envelope) {
			t.Errorf("%q opened to %q: %v", envelope, opened, err)
		}
		broken := bytes.Clone(sealed)
		i := len(prefix) + int(at)%(len(broken)-len(prefix))
		broken[i] ^= 1 + byte(at>>8)&0x7f
		if opened, err := p.Open(secrets, "path", broken); err == nil && !bytes.Equal(opened, envelope) { // a field's name may be broken that says nothing
			t.Errorf("broken at %d it opened to %q", i, opened)
		}
	})
}
