package servers

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// A victim is a server under attack. What it costs is measured from outside.
type victim struct {
	*server
	tls    *tls.Config
	client *http.Client
}

func newVictim(t *testing.T, args ...string) *victim {
	t.Helper()
	v := &victim{server: newServer(t, "victim", "127.0.0.1", args...)}
	var err error
	if v.tls, err = rest.TLSConfigFor(v.config()); err != nil {
		t.Fatal(err)
	}
	v.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: v.tls.Clone(), ForceAttemptHTTP2: true}}
	t.Cleanup(v.client.CloseIdleConnections)
	return v
}

// proc is a file that the kernel has about the server's process.
func (v *victim) proc(name string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprintf("/proc/%d/%s", v.cmd.Process.Pid, name)
}

// kilobytes reads a line of the process's status: VmRSS, VmHWM.
func (v *victim) kilobytes(line string) int {
	v.t.Helper()
	text, err := os.ReadFile(v.proc("status"))
	if err != nil {
		v.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), line+":")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		v.t.Fatalf("the server is gone: %s is %q", line, number)
	}
	return n
}

// forgetPeak makes VmHWM begin again.
func (v *victim) forgetPeak() {
	v.t.Helper()
	if err := os.WriteFile(v.proc("clear_refs"), []byte("5"), 0); err != nil {
		v.t.Fatal(err)
	}
}

// A shot is one request that no honest client sends, with the answer that it gets.
type shot struct {
	name, method, path string
	header             map[string]string
	body               func() []byte

	code int
	text string // part of the answer
}

func (v *victim) fire(s shot) (*http.Response, []byte, error) {
	var body io.Reader
	if s.body != nil {
		body = bytes.NewReader(s.body())
	}
	r, err := http.NewRequestWithContext(v.t.Context(), s.method, "https://"+v.addr+s.path, body)
	if err != nil {
		return nil, nil, err
	}
	for k, h := range s.header {
		r.Header.Set(k, h)
	}
	res, err := v.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res, text, err
}

func text(s string) func() []byte { return func() []byte { return []byte(s) } }

func repeat(before, unit string, n int, after string) func() []byte {
	return func() []byte { return []byte(before + strings.Repeat(unit, n) + after) }
}

func nested(open, inner, end string, n int) func() []byte {
	return func() []byte { return []byte(strings.Repeat(open, n) + inner + strings.Repeat(end, n)) }
}

// crowd is an object with many finalizers, sent back to front.
func crowd(n int) func() []byte {
	return func() []byte {
		b := []byte(`{"metadata":{"name":"x","finalizers":["a/end"`)
		for i := n - 1; i >= 0; i-- {
			b = fmt.Appendf(b, `,"a/%06d"`, i)
		}
		return append(b, "]}}"...)
	}
}

func zipped(plain string) func() []byte {
	return func() []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = io.WriteString(w, plain)
		_ = w.Close()
		return b.Bytes()
	}
}

// aliases is a document of YAML that stands for a trillion words.
func aliases() []byte {
	b := []byte("l0: &l0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 12; i++ {
		b = fmt.Appendf(b, "l%d: &l%d [%s*l%d]\n", i, i, strings.Repeat(fmt.Sprintf("*l%d,", i-1), 9), i-1)
	}
	return b
}

// withSchema is a definition with a schema.
func withSchema(of string) func() []byte {
	return text(`{"metadata":{"name":"things.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"things","kind":"Thing"},` +
		`"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":` + of + `}}]}}`)
}

const (
	maps   = "/api/v1/namespaces/default/configmaps"
	root   = maps + "/kube-root-ca.crt?dryRun=All"
	crds   = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All"
	jsonT  = "application/json"
	yamlT  = "application/yaml"
	protoT = "application/vnd.kubernetes.protobuf"
	jpatch = "application/json-patch+json"
	merge  = "application/merge-patch+json"
	smp    = "application/strategic-merge-patch+json"
	apply  = "application/apply-patch+yaml"
)

func kind(t string) map[string]string { return map[string]string{"Content-Type": t} }

var shots = []shot{
	{"objects in objects", "POST", maps, kind(jsonT), nested(`{"a":`, "1", "}", 20_000), 400, "exceeded max depth"},
	{"lists in lists", "POST", maps, kind(jsonT), repeat("", "[", 3<<20, ""), 400, "exceeded max depth"},
	{"yaml in yaml", "POST", maps, kind(yamlT), repeat("", "{a: ", 700_000, ""), 400, "yaml: exceeded max depth of 10000"},
	{"yaml, item of item", "POST", maps, kind(yamlT), repeat("", "- ", 1_500_000, ""), 400, "yaml: exceeded max depth of 10000"},
	{"aliases of aliases", "POST", maps, kind(yamlT), aliases, 400, "yaml: document contains excessive aliasing"},
	{"alias of itself", "POST", maps, kind(yamlT), text("a: &a [*a]"), 400, "yaml: anchor 'a' value contains itself"},
	{"groups in groups", "POST", maps, kind(protoT), repeat("k8s\x00", "\x7b", 3<<20-4, ""), 400, "the object provided is unrecognized (must be of type ConfigMap)"},
	{"length that lies", "POST", maps, kind(protoT), text("k8s\x00\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), 400, "the object provided is unrecognized (must be of type ConfigMap)"},
	{"three megabytes", "POST", maps, kind(jsonT), repeat("", " ", 3<<20, ""), 400, "unexpected end of JSON input"},
	{"a byte more", "POST", maps, kind(jsonT), repeat("", " ", 3<<20+1, ""), 413, "Request entity too large: limit is 3145728"},
	{"compressed", "POST", maps, map[string]string{"Content-Type": jsonT, "Content-Encoding": "gzip"}, zipped(`{}`), 400, `invalid character '\\x1f'`},
	{"large number", "POST", "/apis/apps/v1/namespaces/default/deployments", kind(jsonT), text(`{"spec":{"replicas":1e999999999}}`), 400, "cannot unmarshal number 1e999999999"},
	{"no number", "POST", "/apis/apps/v1/namespaces/default/deployments", kind(jsonT), text(`{"spec":{"replicas":NaN}}`), 400, "invalid character 'N'"},
	{"zero byte in text", "POST", maps, kind(jsonT), text("{\"metadata\":{\"name\":\"x\x00\"}}"), 400, `invalid character '\\x00' in string literal`},
	{"zero byte in name", "POST", maps, kind(jsonT), text(`{"metadata":{"name":"x\u0000"}}`), 422, "a lowercase RFC 1123 subdomain"},
	{"name that is no text", "POST", maps, kind(jsonT), text("{\"metadata\":{\"name\":\"x\xff\"}}"), 422, "a lowercase RFC 1123 subdomain"},
	{"byte order mark", "POST", maps, kind(jsonT), text("\xef\xbb\xbf{}"), 400, "invalid character"},
	{"more behind it", "POST", maps, kind(jsonT), text(`{"metadata":{"name":"x"}} {}`), 400, "after top-level value"},
	{"name of 254", "POST", maps, kind(jsonT), repeat(`{"metadata":{"name":"`, "a", 254, `"}}`), 422, "must be no more than 253"},
	{"type of nothing", "POST", maps, kind(`application/json;;="`), text("{}"), 415, "accepted media types include"},
	{"long manager", "POST", maps + "?fieldManager=" + strings.Repeat("m", 129), kind(jsonT), text("{}"), 422, "fieldManager: Too long: may not be more than 128 bytes"},
	{"schema of a regular expression that explodes", "POST", crds, kind(jsonT), withSchema(`{"type":"object","properties":{"a":{"type":"string","pattern":"(x{1,1000}){1,1000}"}}}`), 422, "pattern: Invalid value"},

	{"names in the order that costs most", "POST", maps + "?dryRun=All", kind(jsonT), crowd(60_000), 201, `"v:\"a/000059\""`},
	{"amount of many digits", "POST", "/api/v1/namespaces/default/limitranges", kind(jsonT), repeat(`{"metadata":{"name":"x"},"spec":{"limits":[{"max":{"cpu":"`, "9", 2<<20, `"}}]}}`), 400, "quantities must match the regular expression"},
	{"rule with an absurd amount", "POST", crds, kind(jsonT), withSchema(`{"type":"object","properties":{"a":{"type":"string","default":"x"}},"x-kubernetes-validations":[{"rule":"quantity('1e-999999999').isGreaterThan(quantity('1'))"}]}`), 201, "x-kubernetes-validations"},
	{"too many operations", "PATCH", root, kind(jpatch), repeat(`[{"op":"test","path":"/kind","value":1}`, `,{"op":"test","path":"/kind","value":1}`, 10_000, "]"), 413, "The allowed maximum operations in a JSON patch is 10000, got 10001"},
	{"copies of copies", "PATCH", root, kind(jpatch), repeat(`[{"op":"add","path":"/x","value":{"a":"`+strings.Repeat("x", 1000)+`"}}`, `,{"op":"copy","from":"/x","path":"/x/b"},{"op":"copy","from":"/x","path":"/x/c"}`, 30, "]"), 422, "the server rejected our request"},
	{"index without end", "PATCH", root, kind(jpatch), text(`[{"op":"add","path":"/metadata/finalizers","value":[]},{"op":"add","path":"/metadata/finalizers/99999999999","value":"a/b"}]`), 422, "the server rejected our request"},
	{"nothing in place of all", "PATCH", root, kind(jpatch), text(`[{"op":"replace","path":""}]`), 422, "the server rejected our request"},
	{"deep merge", "PATCH", root, kind(merge), nested(`{"a":`, "1", "}", 20_000), 400, "exceeded max depth"},
	{"deep merge of a long text", "PATCH", root, kind(merge), nested(`{"a":`, `"`+strings.Repeat("x", 2_900_000)+`"`, "}", 9_000), 200, `"kind":"ConfigMap"`},
	{"merge of a list", "PATCH", root, kind(merge), text("[1]"), 400, "error decoding patch"},
	{"merge of nothing", "PATCH", root, kind(merge), text("null"), 400, "Invalid JSON Patch"},
	{"unknown directive", "PATCH", root, kind(smp), text(`{"metadata":{"$patch":"explode"}}`), 500, "unknown patch type: explode"},
	{"applied aliases", "PATCH", root + "&fieldManager=m", kind(apply), aliases, 400, "yaml: document contains excessive aliasing"},
	{"options of aliases", "DELETE", maps + "/x", kind(yamlT), aliases, 400, "yaml: document contains excessive aliasing"},

	{"selector of parentheses", "GET", maps + "?labelSelector=" + url.QueryEscape(strings.Repeat("(", 300_000)), nil, nil, 400, "found '('"},
	{"selector of many labels", "GET", maps + "?labelSelector=" + url.QueryEscape(strings.Repeat("a,", 200_000)+"a"), nil, nil, 200, `"items":[]`},
	{"many parameters", "GET", maps + "?limit=1&" + strings.Repeat("a&", 400_000), nil, nil, 200, `"items":[{`},
	{"way up", "GET", "/api/v1/namespaces/../../../etc/passwd", nil, nil, 404, "the server could not find the requested resource"},
	{"hidden way up", "GET", maps + "/%2e%2e%2f%2e%2e%2fsecrets", nil, nil, 404, "the server could not find the requested resource"},
	{"way up by name", "GET", maps + "/%2e%2e", nil, nil, 400, `Name parameter invalid: \"..\"`},
	{"zero byte in path", "GET", maps + "/a%00b", nil, nil, 404, `a\\x00b\" not found`},
	{"negative revision", "GET", maps + "?resourceVersion=-1", nil, nil, 400, `strconv.ParseUint: parsing \"-1\": invalid syntax`},
	{"revision that is too large", "GET", maps + "?resourceVersion=99999999999999999999", nil, nil, 400, "value out of range"},
	{"limit that is too large", "GET", maps + "?limit=99999999999999999999", nil, nil, 400, "value out of range"},
	{"broken limit", "GET", maps + "?limit=1.5", nil, nil, 400, "invalid syntax"},
	{"time that is none", "GET", maps + "?timeout=abc", nil, nil, 400, "invalid timeout specified in the request URL"},
	{"seconds that are none", "GET", maps + "?watch=1&timeoutSeconds=abc", nil, nil, 400, "invalid syntax"},
	{"continue from elsewhere", "GET", maps + "?limit=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi94In0", nil, nil, 400, "continue key is not valid: ../../x"},
	{"continue without end", "GET", maps + "?limit=1&continue=" + strings.Repeat("a", 500_000), nil, nil, 400, "continue key is not valid"},
	{"groups of nobody", "GET", maps, map[string]string{"Impersonate-Group": "a"}, nil, 400, "without impersonating a user name"},
	{"long wishes", "GET", maps + "?limit=1", map[string]string{"Accept": strings.Repeat("a/b;q=0.1,", 90_000) + jsonT}, nil, 200, `"items":[{`},
	{"unheard-of method", "FROB", maps, nil, nil, 405, "the server does not allow this method on the requested resource"},
}

// TestHostileRequests: each gets upstream's answer, soon, and the server needs little for it.
func TestHostileRequests(t *testing.T) {
	const (
		soon   = 20 * time.Second // on a machine that has other things to do
		little = 100 << 10        // kilobytes
	)
	v := newVictim(t)
	for _, s := range shots {
		t.Run(s.name, func(t *testing.T) {
			v.t = t
			v.forgetPeak()
			before, start := v.kilobytes("VmRSS"), time.Now()
			res, body, err := v.fire(s)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode != s.code || !bytes.Contains(body, []byte(s.text)) {
				t.Errorf("%d %.500s; want %d %s", res.StatusCode, body, s.code, s.text)
			}
			var status metav1.Status
			if s.code >= 400 {
				if err := json.Unmarshal(body, &status); err != nil || status.Code != int32(s.code) {
					t.Errorf("no Status of %d: %.200s", s.code, body)
				}
			} else if !json.Valid(body) {
				t.Errorf("no JSON: %.200s", body)
			}
			if took := time.Since(start); took > soon {
				t.Errorf("answered after %v", took)
			}
			if more := v.kilobytes("VmHWM") - before; more > little {
				t.Errorf("took %d MB", more>>10)
			}
		})
	}
	v.t = t
	v.get("/readyz")
}
