package encrypt

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kmsservice "k8s.io/kms/pkg/service"

	"clipper/apiserver/configfile/configfiletest"
)

var secrets = schema.GroupResource{Resource: "secrets"}

func write(t *testing.T, file, resources string) {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [" + resources + "]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const oneKey = "keys: [{name: one, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]"

func TestProvidersByResource(t *testing.T) {
	file := filepath.Join(t.TempDir(), "e.yaml")
	write(t, file, `{resources: [secrets, widgets.example.com], providers: [{aescbc: {`+oneKey+`}}]},
		{resources: ['*.apps'], providers: [{aesgcm: {`+oneKey+`}}]}, {resources: ['*.*'], providers: [{identity: {}}, {secretbox: {`+oneKey+`}}]}`)
	p, err := Open(t.Context(), file, "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ resource, mark string }{
		{"secrets", "k8s:enc:aescbc:v1:one:"}, {"widgets.example.com", "k8s:enc:aescbc:v1:one:"},
		{"deployments.apps", "k8s:enc:aesgcm:v1:one:"}, {"pods", ""},
	} {
		r := schema.ParseGroupResource(tt.resource)
		sealed, err := p.Seal(t.Context(), r, "/registry/x", []byte("plain"))
		if err != nil || p.Mark(sealed) != tt.mark || (tt.mark == "") != bytes.Equal(sealed, []byte("plain")) {
			t.Errorf("%s: %q, mark %q, %v", tt.resource, sealed, p.Mark(sealed), err)
		}
		if plain, err := p.Open(r, "/registry/x", sealed); err != nil || string(plain) != "plain" {
			t.Errorf("%s: opened %q, %v", tt.resource, plain, err)
		}
	}
	sealed, _ := p.Seal(t.Context(), schema.ParseGroupResource("deployments.apps"), "/registry/x", []byte("plain"))
	if _, err := p.Open(schema.ParseGroupResource("deployments.apps"), "/registry/y", sealed); err == nil {
		t.Errorf("a value moved to another key opens: %v", err)
	}
}

func TestReloadKeepsTheGoodFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "e.yaml")
	write(t, file, `{resources: [secrets], providers: [{aescbc: {`+oneKey+`}}]}`)
	p, err := Open(t.Context(), file, "test")
	if err != nil {
		t.Fatal(err)
	}
	before := p.Hash()
	for _, bad := range []string{"{resources: [secrets], providers: []}", "{resources: [secrets], providers: [{aescbc: {keys: [{name: a, secret: short}]}}]}", "{"} {
		write(t, file, bad)
		if err := p.Reload(t.Context()); err == nil || p.Hash() != before {
			t.Errorf("%s: taken over: %v", bad, err)
		}
	}
	write(t, file, `{resources: [secrets], providers: [{identity: {}}, {aescbc: {`+oneKey+`}}]}`)
	if err := p.Reload(t.Context()); err != nil || p.Hash() == before {
		t.Errorf("not taken over: %v", err)
	}
}

// TestRun: the file is looked at once a minute; after a fault soon again, until it is mended.
func TestRun(t *testing.T) {
	const metric = "apiserver_encryption_config_controller_automatic_reloads_total"
	file := filepath.Join(t.TempDir(), "e.yaml")
	good := func(key string) { write(t, file, `{resources: [secrets], providers: [{aescbc: {keys: [`+key+`]}}]}`) }
	const second = "{name: two, secret: ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=}"
	good(second)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		p, err := Open(ctx, file, "test")
		if err != nil {
			t.Fatal(err)
		}
		before := configfiletest.Reloads(t, metric)
		counted := func(what string, failures, successes float64) {
			t.Helper()
			synctest.Wait()
			now := configfiletest.Reloads(t, metric)
			if f, s := now["failure"]-before["failure"], now["success"]-before["success"]; f != failures || s != successes {
				t.Errorf("%s: %v failures, %v successes are counted, want %v, %v", what, f, s, failures, successes)
			}
		}
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		counted("at the start", 0, 0)
		good(strings.TrimSuffix(strings.TrimPrefix(oneKey, "keys: ["), "]"))
		time.Sleep(reloadPeriod - time.Second)
		counted("before a minute is over", 0, 0)
		time.Sleep(2 * time.Second)
		counted("after a minute", 0, 1)
		write(t, file, "{")
		time.Sleep(reloadPeriod + 4*time.Second)
		counted("a bad file, and looked at 1 s and 3 s later", 3, 1)
		good(second)
		time.Sleep(4 * time.Second)
		counted("mended", 3, 2)
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	file, legacy := filepath.Join(dir, "e.yaml"), filepath.Join(dir, "secrets.key")
	if err := Ensure(file, legacy, true); err == nil || !strings.Contains(err.Error(), "missing") {
		t.Errorf("a new key although there is data: %v", err)
	}
	if err := os.WriteFile(legacy, []byte(strings.Repeat("ab", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Ensure(file, legacy, true); err != nil {
		t.Fatal(err)
	}
	p, err := Open(t.Context(), file, "test")
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := p.Seal(t.Context(), secrets, "k", nil); err != nil || p.Mark(sealed) != "k8s:enc:aesgcm:v1:clipper:" {
		t.Errorf("the key of earlier versions is not used: %q %v", sealed, err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st, err)
	}
}

// A server keeps a few values as the store does, and fails when told to.
type server struct {
	p      *Providers
	values map[string][]byte
	fail   int // calls until one fails; negative for never
}

var errInterrupted = errors.New("interrupted")

func (s *server) Status() (*Status, error) {
	if s.fail--; s.fail == -1 {
		return nil, errInterrupted
	}
	st := &Status{Stale: map[string]int{}}
	if err := s.p.Reload(context.Background()); err != nil {
		st.Error = err.Error()
	}
	st.Hash = s.p.Hash()
	now, err := s.p.Seal(context.Background(), secrets, "k", nil)
	for _, v := range s.values {
		if s.p.Mark(v) != s.p.Mark(now) {
			st.Stale["secrets"]++
		}
	}
	return st, err
}

func (s *server) Rewrite() (*Status, error) {
	for k, v := range s.values {
		plain, err := s.p.Open(secrets, k, v)
		if err != nil {
			return nil, err
		}
		if s.values[k], err = s.p.Seal(context.Background(), secrets, k, plain); err != nil {
			return nil, err
		}
	}
	return s.Status()
}

// TestRotateInterrupted stops a rotation at every point where it talks to the server, starts the server anew, which must
// be able to read everything, and lets the rotation go on.
func TestRotateInterrupted(t *testing.T) {
	for at := range 8 {
		t.Run(fmt.Sprint("call ", at), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "e.yaml")
			if err := Ensure(file, "", false); err != nil {
				t.Fatal(err)
			}
			before, _ := ReadFile(file)
			first, err := Open(t.Context(), file, "test")
			if err != nil {
				t.Fatal(err)
			}
			s := &server{p: first, values: map[string][]byte{}, fail: at}
			for _, k := range []string{"a", "b"} {
				s.values[k], _ = first.Seal(t.Context(), secrets, k, []byte("plain "+k))
			}
			quiet := func(string) {}
			now := time.Now()
			if err := Rotate(file, s, now, quiet); err != nil && !errors.Is(err, errInterrupted) {
				t.Fatal(err)
			}
			if s.p, err = Open(t.Context(), file, "test"); err != nil {
				t.Fatal(err)
			}
			for k, v := range s.values {
				if plain, err := s.p.Open(secrets, k, v); err != nil || string(plain) != "plain "+k {
					t.Fatalf("after the interruption %s is %q: %v", k, plain, err)
				}
			}
			after, _ := ReadFile(file)
			if st, _ := after.Stage(); st != Settled || slices.Equal(names(before), names(after)) {
				if err := Rotate(file, s, now.Add(time.Minute), quiet); err != nil {
					t.Fatal(err)
				}
			}
			after, _ = ReadFile(file)
			if n := names(after); len(n) != 1 || n[0] == names(before)[0] {
				t.Errorf("keys at the end: %v", n)
			}
			for k, v := range s.values {
				if plain, err := s.p.Open(secrets, k, v); err != nil || string(plain) != "plain "+k {
					t.Errorf("at the end %s is %q: %v", k, plain, err)
				}
			}
		})
	}
}

func names(f *File) (out []string) {
	k, _ := keys(&f.Config.Resources[0])
	for _, k := range *k {
		out = append(out, k.Name)
	}
	return out
}

func TestRotateRefusesWhatHasNoKeys(t *testing.T) {
	for _, providers := range []string{"{identity: {}}", "{kms: {apiVersion: v2, name: k, endpoint: 'unix:///nowhere'}}"} {
		file := filepath.Join(t.TempDir(), "e.yaml")
		write(t, file, "{resources: [secrets], providers: ["+providers+"]}")
		f, err := ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Stage(); err == nil {
			t.Errorf("%s: no error", providers)
		}
	}
}

// A plugin is a KMS that turns bits over.
type plugin struct {
	keyID atomic.Value
	sick  atomic.Bool
	asked atomic.Int64
}

func (p *plugin) Encrypt(_ context.Context, _ string, data []byte) (*kmsservice.EncryptResponse, error) {
	p.asked.Add(1)
	return &kmsservice.EncryptResponse{Ciphertext: turned(data), KeyID: p.keyID.Load().(string)}, nil
}

func (p *plugin) Decrypt(_ context.Context, _ string, r *kmsservice.DecryptRequest) ([]byte, error) {
	p.asked.Add(1)
	return turned(r.Ciphertext), nil
}

func (p *plugin) Status(context.Context) (*kmsservice.StatusResponse, error) {
	if p.sick.Load() {
		return nil, errors.New("sick")
	}
	return &kmsservice.StatusResponse{Version: "v2", Healthz: "ok", KeyID: p.keyID.Load().(string)}, nil
}

func turned(data []byte) []byte {
	out := bytes.Clone(data)
	for i := range out {
		out[i] ^= 0xff
	}
	return out
}

// servePlugin serves a plug-in until the test ends; file is where the configuration may be put that names it.
func servePlugin(t testing.TB) (kms *plugin, file, socket string) {
	dir := t.TempDir()
	kms = &plugin{}
	kms.keyID.Store("1")
	socket = filepath.Join(dir, "kms.sock")
	service := kmsservice.NewGRPCService(socket, time.Second, kms)
	served := make(chan error, 1)
	go func() { served <- service.ListenAndServe() }()
	t.Cleanup(func() { service.Shutdown(); <-served })
	return kms, filepath.Join(dir, "e.yaml"), socket
}

func TestKMS(t *testing.T) {
	kms, file, socket := servePlugin(t)
	write(t, file, "{resources: [secrets], providers: [{kms: {apiVersion: v2, name: box, endpoint: 'unix://"+socket+"'}}]}")
	p, err := Open(t.Context(), file, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await(t.Context(), 10*time.Second); err != nil || !p.UsesKMS() {
		t.Fatal(err)
	}
	spans := tracetest.NewSpanRecorder()
	request, span := trace.NewTracerProvider(trace.WithSpanProcessor(spans)).Tracer("test").Start(t.Context(), "POST /api/v1/namespaces/{:namespace}/secrets")
	sealed, err := p.Seal(request, secrets, "k", []byte("plain"))
	span.End()
	if all := spans.Ended(); len(all) != 2 || all[0].Name() != "TransformToStorage with envelopeTransformer" || all[0].Parent().SpanID() != span.SpanContext().SpanID() {
		t.Errorf("the request's trace does not tell of the encryption: %v", all)
	}
	if err != nil || bytes.Contains(sealed, []byte("plain")) || p.Mark(sealed) != "k8s:enc:kms:v2:box:1" {
		t.Fatalf("%q, %v", sealed, err)
	}
	asked := kms.asked.Load()
	for range 100 {
		if plain, err := p.Open(secrets, "k", sealed); err != nil || string(plain) != "plain" {
			t.Fatalf("%q, %v", plain, err)
		}
	}
	if now := kms.asked.Load(); now > asked+1 {
		t.Errorf("the plug-in was asked %d times to open one value 100 times", now-asked)
	}

	kms.keyID.Store("2")
	if p, err = Open(t.Context(), file, "test"); err != nil { // the library asks for the key once a minute
		t.Fatal(err)
	}
	again, err := p.Seal(t.Context(), secrets, "k", []byte("plain"))
	if err != nil || p.Mark(again) == p.Mark(sealed) {
		t.Errorf("mark %q after the KMS has another key: %v", p.Mark(again), err)
	}
	if plain, err := p.Open(secrets, "k", sealed); err != nil || string(plain) != "plain" {
		t.Errorf("of the key before: %q, %v", plain, err)
	}

	kms.sick.Store(true)
	if p, err = Open(t.Context(), file, "test"); err != nil {
		t.Fatal(err)
	}
	if err := p.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "kms-provider-0") {
		t.Errorf("health of a sick plug-in: %v", err)
	}
}

// FuzzOpen: no value of any provider makes its opening panic, and none opens to what was not sealed.
func FuzzOpen(f *testing.F) {
	file := filepath.Join(f.TempDir(), "encryption.yaml")
	var list strings.Builder
	for _, provider := range []string{"secretbox", "aesgcm", "aescbc"} {
		fmt.Fprintf(&list, "    - %s: {keys: [{name: one, secret: %s}]}\n", provider, base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(provider)[:1], keySize)))
		f.Add([]byte("k8s:enc:"+provider+":v1:one:"+strings.Repeat("x", 48)), []byte("{}"), uint16(7))
	}
	f.Add([]byte("k8s:enc:aescbc:v1:one:"), []byte{}, uint16(0))
	f.Add([]byte("k8s:enc:aescbc:v1:one:"+strings.Repeat("x", 16)), []byte("{}"), uint16(30)) // nothing behind its vector
	f.Add([]byte("k8s:enc:aescbc:v1:one:"+strings.Repeat("x", 17)), []byte("{}"), uint16(30))
	f.Add([]byte("k8s:enc:kms:v2:one:\x12\x01k"), []byte("{}"), uint16(1))
	text := "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers:\n" + list.String() + "    - identity: {}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		f.Fatal(err)
	}
	p, err := Open(f.Context(), file, "fuzz")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value, plain []byte, at uint16) {
		if opened, err := p.Open(secrets, "/registry/secrets/a/b", value); err == nil && bytes.HasPrefix(value, []byte(anyPrefix)) && !bytes.HasPrefix(value, []byte("k8s:enc:aescbc:")) { // which proves nothing
			t.Errorf("%q opened to %q", value, opened)
		}
		sealed, err := p.Seal(t.Context(), secrets, "/registry/secrets/a/b", plain)
		if err != nil {
			t.Fatal(err)
		}
		if opened, err := p.Open(secrets, "/registry/secrets/a/b", sealed); err != nil || !bytes.Equal(opened, plain) {
			t.Errorf("%q opened to %q: %v", plain, opened, err)
		}
		broken := bytes.Clone(sealed)
		broken[int(at)%len(broken)] ^= 1 + byte(at>>8)&0x7f
		if opened, err := p.Open(secrets, "/registry/secrets/a/b", broken); err == nil && bytes.HasPrefix(broken, []byte(anyPrefix)) {
			t.Errorf("broken at %d it opened to %q", at, opened)
		}
	})
}

func FuzzMark(f *testing.F) {
	f.Add([]byte("k8s:enc:kms:v2:box:\x12\x01k"))
	f.Add([]byte("k8s:enc:aescbc:v1:one:xx"))
	p := &Providers{}
	f.Fuzz(func(t *testing.T, value []byte) {
		if mark := p.Mark(value); (mark != "") != bytes.HasPrefix(value, []byte(anyPrefix)) {
			t.Errorf("mark %q of %q", mark, value)
		}
	})
}
