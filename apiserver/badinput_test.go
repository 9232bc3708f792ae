package apiserver_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/apiserver/servertest"
)

// client answers no redirects and checks no certificates.
func rawClient(t *testing.T, s *servertest.Server) *http.Client {
	t.Helper()
	return s.HTTPClient()
}

func start(t *testing.T, o servertest.Options) *servertest.Server {
	t.Helper()
	s, err := servertest.Start(t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// A call is one raw request.
type call struct {
	method, path, contentType, token, accept string
	body                                     string
}

func (c call) do(t *testing.T, s *servertest.Server) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequest(c.method, s.URL+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.token == "" {
		c.token = servertest.AdminToken
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if c.contentType != "" {
		r.Header.Set("Content-Type", c.contentType)
	}
	if c.accept != "" {
		r.Header.Set("Accept", c.accept)
	}
	res, err := rawClient(t, s).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, body
}

const (
	cms     = "/api/v1/namespaces/default/configmaps"
	jsonT   = "application/json"
	yamlT   = "application/yaml"
	protoT  = "application/vnd.kubernetes.protobuf"
	mergeT  = "application/merge-patch+json"
	jpatchT = "application/json-patch+json"
	smpT    = "application/strategic-merge-patch+json"
	applyT  = "application/apply-patch+yaml"
)

func cm(name string) string {
	return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"data":{"a":"b"}}`
}

const limits = "/api/v1/namespaces/default/limitranges"

func limitRange(amount string) string {
	return `{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"x"},"spec":{"limits":[{"type":"Pod","max":{"cpu":"` + amount + `"}}]}}`
}

// message is one field of a protobuf message, with a length.
func message(field byte, parts ...string) string {
	body := strings.Join(parts, "")
	return string(binary.AppendUvarint([]byte{field<<3 | 2}, uint64(len(body)))) + body
}

func enveloped(version, kind, raw string) string {
	return "k8s\x00" + message(1, message(1, version), message(2, kind)) + message(2, raw)
}

func protoLimits(amount string) string {
	return message(1, message(1, "x")) + message(2, message(1, message(1, "Pod"), message(2, message(1, "cpu"), message(2, message(1, amount)))))
}

// deepDefinition is a definition in three megabytes of protobuf, whose schema is "not" a schema that is "not" a schema.
func deepDefinition(t *testing.T) string {
	t.Helper()
	deep := [][]byte{nil}
	for size := 0; size < 3_000_000; {
		head := binary.AppendUvarint([]byte{0xe2, 0x01}, uint64(size)) // field 28
		deep = append(deep, head)
		size += len(head)
	}
	slices.Reverse(deep)
	schema := string(bytes.Join(deep, nil))
	version := message(1, "v1") + "\x10\x01\x18\x01" + message(4, message(1, schema))
	return enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", message(1, message(1, "things.example.com"))+message(2, message(7, version)))
}

// TestBadInput sends what clients should not, and compares code, reason and words with upstream's.
func TestBadInput(t *testing.T) {
	s := start(t, servertest.Options{})
	if res, body := (call{method: "POST", path: cms, contentType: jsonT, body: cm("here")}).do(t, s); res.StatusCode != 201 {
		t.Fatalf("create: %d %s", res.StatusCode, body)
	}
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	tests := []struct {
		name   string
		call   call
		code   int
		reason metav1.StatusReason
		text   string   // part of the message
		causes []string // "reason field"
	}{
		{"malformed json", call{method: "POST", path: cms, contentType: jsonT, body: `{"apiVersion":`},
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error", nil},
		{"empty body", call{method: "POST", path: cms, contentType: jsonT},
			400, "BadRequest", "(<empty>)", nil},
		{"malformed yaml", call{method: "POST", path: cms, contentType: yamlT, body: "a: b: c"},
			400, "BadRequest", "yaml:", nil},
		{"malformed protobuf", call{method: "POST", path: cms, contentType: protoT, body: "k8s\x00\xff\xff"},
			400, "BadRequest", "the object provided is unrecognized (must be of type ConfigMap)", nil},
		{"no protobuf", call{method: "POST", path: cms, contentType: protoT, body: "{}"},
			400, "BadRequest", "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]", nil},
		{"unknown media type", call{method: "POST", path: cms, contentType: "text/plain", body: "x"},
			415, "UnsupportedMediaType", "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf", nil},
		{"not acceptable", call{method: "GET", path: cms + "/here", accept: "text/html"},
			406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf", nil},
		{"unknown field, strict", call{method: "POST", path: cms + "?fieldValidation=Strict", contentType: jsonT, body: `{"metadata":{"name":"x"},"dta":{}}`},
			400, "BadRequest", `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta"`, nil},
		{"duplicate field, strict yaml", call{method: "POST", path: cms + "?fieldValidation=Strict", contentType: yamlT, body: "metadata: {name: x}\ndata: {a: b}\ndata: {a: c}\n"},
			400, "BadRequest", `already set in map`, nil},
		{"bad field validation", call{method: "POST", path: cms + "?fieldValidation=Maybe", contentType: jsonT, body: cm("x")},
			422, "Invalid", `CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe"`, []string{"FieldValueNotSupported fieldValidation"}},
		{"bad dry run", call{method: "POST", path: cms + "?dryRun=Some", contentType: jsonT, body: cm("x")},
			422, "Invalid", `dryRun: Unsupported value: ["Some"]: supported values: "All"`, []string{"FieldValueNotSupported dryRun"}},
		{"wrong type", call{method: "POST", path: "/apis/apps/v1/namespaces/default/deployments", contentType: jsonT, body: `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"replicas":"three"}}`},
			400, "BadRequest", `Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32`, nil},
		{"other kind", call{method: "POST", path: cms, contentType: jsonT, body: `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`},
			400, "BadRequest", `Secret in version "v1" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion`, nil},
		{"unknown kind", call{method: "POST", path: cms, contentType: jsonT, body: `{"apiVersion":"v1","kind":"Nonsense","metadata":{"name":"x"}}`},
			400, "BadRequest", `no kind "Nonsense" is registered for version "v1" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"`, nil},
		{"too deep", call{method: "POST", path: cms, contentType: jsonT, body: `{"metadata":{"name":"x"},"x":` + deep + `}`},
			400, "BadRequest", "", nil},
		{"messages too deep", call{method: "POST", path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", contentType: protoT, body: deepDefinition(t)},
			400, "BadRequest", `CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition: exceeded max depth`, nil},
		{"embedded object that is none, in protobuf", call{method: "POST", path: "/apis/apps/v1/namespaces/default/controllerrevisions", contentType: protoT,
			body: enveloped("apps/v1", "ControllerRevision", message(1, message(1, "x"))+message(2, message(1, `{"a":`))+"\x18\x01")},
			400, "BadRequest", `ControllerRevision in version "v1" cannot be handled as a ControllerRevision: unexpected end of JSON input`, nil},
		{"embedded object of no bytes, in protobuf", call{method: "POST", path: "/apis/apps/v1/namespaces/default/controllerrevisions", contentType: protoT,
			body: enveloped("apps/v1", "ControllerRevision", message(1, message(1, "x"))+message(2, message(1, ""))+"\x18\x01")},
			400, "BadRequest", `ControllerRevision in version "v1" cannot be handled as a ControllerRevision: unexpected end of JSON input`, nil},
		{"schema's default that is none, in protobuf", call{method: "POST", path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", contentType: protoT,
			body: enveloped("apiextensions.k8s.io/v1", "CustomResourceDefinition", message(1, message(1, "x"))+message(2, message(7, message(4, message(1, message(8, message(1, "nul")))))))},
			400, "BadRequest", `CustomResourceDefinition in version "v1" cannot be handled as a CustomResourceDefinition: invalid character`, nil},
		{"absurd amount", call{method: "POST", path: limits, contentType: jsonT, body: limitRange("1e-999999999")},
			400, "BadRequest", `LimitRange in version "v1" cannot be handled as a LimitRange: quantities must match the regular expression`, nil},
		{"absurd amount in yaml", call{method: "POST", path: limits, contentType: yamlT, body: limitRange(`\x31e-999999999`)},
			400, "BadRequest", `LimitRange in version "v1" cannot be handled as a LimitRange: quantities must match the regular expression`, nil},
		{"absurd amount in protobuf", call{method: "POST", path: limits, contentType: protoT, body: enveloped("v1", "LimitRange", protoLimits("1e-999999999"))},
			400, "BadRequest", `LimitRange in version "v1" cannot be handled as a LimitRange: quantities must match the regular expression`, nil},
		{"absurd amount in a patch", call{method: "PATCH", path: limits + "/x", contentType: smpT, body: limitRange("1e-999999999")},
			400, "BadRequest", "quantities must match the regular expression", nil},
		{"absurd amount in a json patch", call{method: "PATCH", path: limits + "/x", contentType: jpatchT, body: `[{"op":"add","path":"/spec/limits/0/max/cpu","value":"1e-999999999"}]`},
			400, "BadRequest", "quantities must match the regular expression", nil},
		{"absurd amount in an apply", call{method: "PATCH", path: limits + "/x?fieldManager=m", contentType: applyT, body: limitRange("1e-999999999")},
			400, "BadRequest", "quantities must match the regular expression", nil},
		{"too large", call{method: "POST", path: cms, contentType: jsonT, body: `{"data":{"a":"` + strings.Repeat("x", 3<<20) + `"}}`},
			413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728", nil},
		{"bad name", call{method: "POST", path: cms, contentType: jsonT, body: cm("Bad_Name")},
			422, "Invalid", `ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of`, []string{"FieldValueInvalid metadata.name"}},
		{"no name", call{method: "POST", path: cms, contentType: jsonT, body: `{"data":{}}`},
			422, "Invalid", `ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required`, []string{"FieldValueRequired metadata.name"}},
		{"other namespace", call{method: "POST", path: cms, contentType: jsonT, body: `{"metadata":{"name":"x","namespace":"other"}}`},
			400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request", nil},
		{"exists", call{method: "POST", path: cms, contentType: jsonT, body: cm("here")},
			409, "AlreadyExists", `configmaps "here" already exists`, nil},
		{"resourceVersion on create", call{method: "POST", path: cms, contentType: jsonT, body: `{"metadata":{"name":"x","resourceVersion":"5"}}`},
			500, "", "resourceVersion should not be set on objects to be created", nil},
		{"absent", call{method: "GET", path: cms + "/nosuch"},
			404, "NotFound", `configmaps "nosuch" not found`, nil},
		{"update of absent", call{method: "PUT", path: cms + "/nosuch", contentType: jsonT, body: cm("nosuch")},
			404, "NotFound", `configmaps "nosuch" not found`, nil},
		{"update with other name", call{method: "PUT", path: cms + "/here", contentType: jsonT, body: cm("there")},
			400, "BadRequest", "the name of the object (there) does not match the name on the URL (here)", nil},
		{"stale update", call{method: "PUT", path: cms + "/here", contentType: jsonT, body: `{"metadata":{"name":"here","resourceVersion":"999999"}}`},
			409, "Conflict", `Operation cannot be fulfilled on configmaps "here": the object has been modified; please apply your changes to the latest version and try again`, nil},
		{"wrong uid", call{method: "PUT", path: cms + "/here", contentType: jsonT, body: `{"metadata":{"name":"here","uid":"nope"}}`},
			409, "Conflict", "Precondition failed: UID in precondition: nope, UID in object meta: ", nil},
		{"delete with wrong uid", call{method: "DELETE", path: cms + "/here", contentType: jsonT, body: `{"preconditions":{"uid":"nope"}}`},
			409, "Conflict", "the UID in the precondition (nope) does not match the UID in record (", nil},
		{"bad propagation", call{method: "DELETE", path: cms + "/here?propagationPolicy=Sometimes"},
			422, "Invalid", "propagationPolicy: Unsupported value: \"Sometimes\"", []string{"FieldValueNotSupported propagationPolicy"}},
		{"bad label selector", call{method: "GET", path: cms + "?labelSelector=a%20in"},
			400, "BadRequest", "unable to parse requirement: found '' expected: '('", nil},
		{"unsupported field", call{method: "GET", path: cms + "?fieldSelector=data.a%3Db"},
			400, "BadRequest", `"data.a" is not a known field selector: only "metadata.name", "metadata.namespace"`, nil},
		{"unsupported pod field", call{method: "GET", path: "/api/v1/pods?fieldSelector=spec.foo%3Db"},
			400, "BadRequest", `field label not supported: spec.foo`, nil},
		{"bad limit", call{method: "GET", path: cms + "?limit=many"},
			400, "BadRequest", "", nil},
		{"bad continue", call{method: "GET", path: cms + "?limit=1&continue=zzz"},
			400, "BadRequest", "continue key is not valid", nil},
		{"continue from the future", call{method: "GET", path: cms + "?limit=1&continue=" + base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":999999999,"start":"a"}`))},
			504, "Timeout", "Timeout: Too large resource version: 999999999, current: ", []string{"ResourceVersionTooLarge "}},
		{"name that is a way up", call{method: "GET", path: cms + "/%2e%2e"},
			400, "BadRequest", `Name parameter invalid: "..": may not be '..'`, nil},
		{"bad revision", call{method: "GET", path: cms + "?resourceVersion=abc"},
			400, "BadRequest", "invalid resource version", nil},
		{"match without revision", call{method: "GET", path: cms + "?resourceVersionMatch=Exact"},
			422, "Invalid", `ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided`, []string{"FieldValueForbidden resourceVersionMatch"}},
		{"unknown patch type", call{method: "PATCH", path: cms + "/here", contentType: jsonT, body: "{}"},
			415, "UnsupportedMediaType", "415: Unsupported Media Type", nil},
		{"malformed merge patch", call{method: "PATCH", path: cms + "/here", contentType: mergeT, body: "{"},
			400, "BadRequest", "", nil},
		{"malformed json patch", call{method: "PATCH", path: cms + "/here", contentType: jpatchT, body: "{}"},
			400, "BadRequest", "", nil},
		{"json patch of absent path", call{method: "PATCH", path: cms + "/here", contentType: jpatchT, body: `[{"op":"remove","path":"/data/nosuch"}]`},
			422, "Invalid", "the server rejected our request due to an error in our request", nil},
		{"failed json patch test", call{method: "PATCH", path: cms + "/here", contentType: jpatchT, body: `[{"op":"test","path":"/data/a","value":"c"}]`},
			422, "Invalid", "the server rejected our request due to an error in our request", nil},
		{"merge patch to wrong type", call{method: "PATCH", path: cms + "/here", contentType: mergeT, body: `{"data":"x"}`},
			422, "Invalid", "patch: Invalid value:", []string{"FieldValueInvalid patch"}},
		{"strategic patch with unknown field, strict", call{method: "PATCH", path: cms + "/here?fieldValidation=Strict", contentType: smpT, body: `{"dta":{}}`},
			422, "Invalid", `patch: Invalid value: "map[dta:map[]]": strict decoding error: unknown field "dta"`, []string{"FieldValueInvalid patch"}},
		{"patch renames", call{method: "PATCH", path: cms + "/here", contentType: mergeT, body: `{"metadata":{"name":"there"}}`},
			400, "BadRequest", "the name of the object (there) does not match the name on the URL (here)", nil},
		{"apply without manager", call{method: "PATCH", path: cms + "/x", contentType: applyT, body: "apiVersion: v1\nkind: ConfigMap\n"},
			422, "Invalid", "fieldManager: Required value: is required for apply patch", []string{"FieldValueRequired fieldManager"}},
		{"force without apply", call{method: "PATCH", path: cms + "/here?force=true", contentType: mergeT, body: "{}"},
			422, "Invalid", "force: Forbidden: may not be specified for non-apply patch", []string{"FieldValueForbidden force"}},
		{"apply with other version", call{method: "PATCH", path: cms + "/x?fieldManager=m", contentType: applyT, body: "apiVersion: v2\nkind: ConfigMap\nmetadata: {name: x}\n"},
			400, "BadRequest", "invalid object type: /v2, Kind=ConfigMap", nil},
		{"apply malformed", call{method: "PATCH", path: cms + "/x?fieldManager=m", contentType: applyT, body: "a: b: c"},
			400, "BadRequest", "error decoding YAML", nil},
		{"bad credentials", call{method: "GET", path: cms, token: "bad"},
			401, "Unauthorized", "Unauthorized", nil},
		{"forbidden list", call{method: "GET", path: "/api/v1/nodes", token: "denied-joe"},
			403, "Forbidden", `nodes is forbidden: User "denied-joe" cannot list resource "nodes" in API group "" at the cluster scope`, nil},
		{"forbidden get", call{method: "GET", path: "/apis/apps/v1/namespaces/x/deployments/y/scale", token: "denied-joe"},
			403, "Forbidden", `deployments.apps "y" is forbidden: User "denied-joe" cannot get resource "deployments/scale" in API group "apps" in the namespace "x"`, nil},
		{"forbidden path", call{method: "GET", path: "/metrics", token: "denied-joe"},
			403, "Forbidden", `forbidden: User "denied-joe" cannot get path "/metrics"`, nil},
		{"future revision", call{method: "GET", path: cms + "?resourceVersion=99999999"},
			504, "Timeout", "Timeout: Too large resource version: 99999999, current: ", []string{"ResourceVersionTooLarge "}},
		{"unready exec", call{method: "POST", path: "/api/v1/namespaces/default/pods/nosuch/exec?command=ls"},
			404, "NotFound", `pods "nosuch" not found`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			res, body := tt.call.do(t, s)
			var status metav1.Status
			if err := json.Unmarshal(body, &status); err != nil {
				t.Fatalf("%d, body is no Status: %s", res.StatusCode, body)
			}
			if res.StatusCode != tt.code || int(status.Code) != tt.code || status.Reason != tt.reason || status.Status != "Failure" {
				t.Errorf("got %d %d %q %q, want %d %q", res.StatusCode, status.Code, status.Status, status.Reason, tt.code, tt.reason)
			}
			if !strings.Contains(status.Message, tt.text) {
				t.Errorf("message %q does not contain %q", status.Message, tt.text)
			}
			var causes []string
			if status.Details != nil {
				for _, c := range status.Details.Causes {
					causes = append(causes, string(c.Type)+" "+c.Field)
				}
			}
			if !slices.Equal(causes, tt.causes) {
				t.Errorf("causes %q, want %q", causes, tt.causes)
			}
			if status.Kind != "Status" || status.APIVersion != "v1" || res.Header.Get("Audit-Id") == "" {
				t.Errorf("kind %q %q, audit id %q", status.APIVersion, status.Kind, res.Header.Get("Audit-Id"))
			}
		})
	}
}

// TestPlainAnswers: what upstream's mux answers without a Status.
func TestPlainAnswers(t *testing.T) {
	s := start(t, servertest.Options{})
	for _, tt := range []struct {
		call call
		code int
		body string
	}{
		{call{method: "GET", path: "/apis/nosuch.example.com/v1"}, 404, "404 page not found\n"},
		{call{method: "GET", path: "/livez"}, 200, "ok"},
		{call{method: "GET", path: "/readyz/ping"}, 200, "ok"},
	} {
		if res, body := tt.call.do(t, s); res.StatusCode != tt.code || string(body) != tt.body {
			t.Errorf("%s %s: %d %q, want %d %q", tt.call.method, tt.call.path, res.StatusCode, body, tt.code, tt.body)
		}
	}
}

// TestWarnings: what is not refused is said in headers.
func TestWarnings(t *testing.T) {
	s := start(t, servertest.Options{})
	res, body := call{method: "POST", path: cms + "?fieldValidation=Warn", contentType: jsonT, body: `{"metadata":{"name":"w"},"dta":{}}`}.do(t, s)
	if got := res.Header.Values("Warning"); res.StatusCode != 201 || !slices.Equal(got, []string{`299 - "unknown field \"dta\""`}) {
		t.Errorf("%d, warnings %q; %s", res.StatusCode, got, body)
	}
	res, _ = call{method: "POST", path: cms + "?fieldValidation=Ignore", contentType: jsonT, body: `{"metadata":{"name":"w2"},"dta":{}}`}.do(t, s)
	if got := res.Header.Values("Warning"); res.StatusCode != 201 || len(got) != 0 {
		t.Errorf("ignore: %d, warnings %q", res.StatusCode, got)
	}
	owners := `[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1"},{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1"}]`
	res, body = call{method: "POST", path: cms, contentType: jsonT, body: `{"metadata":{"name":"w3","ownerReferences":` + owners + `}}`}.do(t, s)
	if got := res.Header.Get("Warning"); !strings.Contains(got, "duplicate UID(s) observed: 1") || bytes.Count(body, []byte(`"uid":"1"`)) != 1 {
		t.Errorf("owners: warning %q, body %s", got, body)
	}
}
