package apiserver_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill/bytesource"
	"sigs.k8s.io/yaml"

	"clipper/api"
	"clipper/apiserver"
	"clipper/apiserver/served"
	"clipper/apiserver/servertest"
	"clipper/catalogue/all"
	"clipper/test/mutation"
)

// requestTime is how long a client of the fuzzer waits, watches included; requestPatience what a busy machine adds.
const (
	requestTime     = 50 * time.Millisecond
	requestPatience = 10 * time.Second
)

// FuzzServe sends sequences of requests to a whole server: any method, path, options and headers, bodies made from
// examples of every kind in every form, sound and broken. None may panic or take long; every answer says what it is
// and is that.
func FuzzServe(f *testing.F) {
	c := newCaller(f)
	for seed := range 60 {
		f.Add([]byte{byte(seed), 7, 6, 5, 4, 3, 2, 1})
	}
	f.Fuzz(func(t *testing.T, choices []byte) {
		c.rand = rand.New(bytesource.New(choices))
		c.change.Rand = c.rand
		c.kind = c.kinds[c.rand.Intn(len(c.kinds))]
		c.last = nil
		var trace strings.Builder
		for range 2 + c.rand.Intn(10) {
			c.call(t, &trace)
		}
		if t.Failed() {
			t.Log(trace.String())
		}
	})
}

// TestRawNoJSON: protobuf can carry raw JSON that is none. It is the client's fault.
func TestRawNoJSON(t *testing.T) {
	s := start(t, servertest.Options{})
	for _, name := range []string{"", "a"} {
		for _, raw := range []string{`{"a":"b}`, `{"kind":"ConfigMap","metadata":{"name":"xE}}`, `{`, `x`, `"`, `[`} {
			var body bytes.Buffer
			obj := &appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}, Data: runtime.RawExtension{Raw: []byte(raw)}, Revision: 3}
			obj.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("ControllerRevision"))
			if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(obj, &body); err != nil {
				t.Fatal(err)
			}
			c := call{method: "POST", path: "/apis/apps/v1/namespaces/default/controllerrevisions", contentType: "application/vnd.kubernetes.protobuf", body: body.String()}
			if res, answer := c.do(t, s); res.StatusCode/100 != 4 {
				t.Errorf("%q %q: %d: %s", name, raw, res.StatusCode, answer)
			}
		}
	}
}

// A caller makes requests to a server in its own process.
type caller struct {
	server http.Handler
	kinds  []*served.Kind
	change mutation.Mutator
	rand   *rand.Rand
	kind   *served.Kind // that the requests at hand are about, mostly
	last   []byte       // the latest object that was answered, in JSON
}

func newCaller(f *testing.F) *caller {
	constants, err := mutation.ReadConstants()
	if err != nil {
		f.Fatal(err)
	}
	nowhere := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("there is nothing") }
	var options apiserver.Options
	s, err := servertest.Start(f.TempDir(), servertest.Options{Resources: all.Resources(), Dial: nowhere, Server: func(o *apiserver.Options) {
		o.DialNode, o.Log = nowhere, slog.New(slog.DiscardHandler)
		options = *o
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Stop(); err != nil {
			f.Error(err)
		}
	})
	server := apiserver.New(options)
	server.SetReady(true)
	c := &caller{server: server, change: mutation.Mutator{Constants: constants}}
	for _, g := range s.Live.Table().Groups {
		for _, v := range g.Versions {
			c.kinds = append(c.kinds, v.Kinds...)
		}
	}
	return c
}

func (c *caller) chance(percent int) bool { return c.rand.Intn(100) < percent }

func (c *caller) one(list ...string) string { return list[c.rand.Intn(len(list))] }

// call makes one request and looks at its answer.
func (c *caller) call(t *testing.T, trace *strings.Builder) {
	method := c.one("GET", "GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO")
	contentType, body := c.body(method)
	target := &url.URL{Path: c.path(method), RawQuery: c.query()}
	fmt.Fprintf(trace, "%s %s %s %q\n", method, target, contentType, body)
	ctx, cancel := context.WithTimeout(t.Context(), requestTime)
	defer cancel()
	r := (&http.Request{Method: method, URL: target, Host: "x", Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)), RemoteAddr: "127.0.0.1:1", ProtoMajor: 2}).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+c.one("admin", "admin", "admin", "jane", "denied"))
	c.headers(r.Header)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	w := httptest.NewRecorder()
	began := time.Now()
	c.server.ServeHTTP(w, r)
	if took := time.Since(began); took > requestPatience {
		t.Errorf("took %v", took)
	}
	fmt.Fprintf(trace, "  %d %s\n", w.Code, w.Body.Bytes()[:min(w.Body.Len(), 300)])
	c.judge(t, r, w)
}

// judge looks at an answer.
func (c *caller) judge(t *testing.T, r *http.Request, w *httptest.ResponseRecorder) {
	body := w.Body.Bytes()
	if w.Code == http.StatusInternalServerError && bytes.Contains(body, []byte("panic")) {
		t.Errorf("panicked: %s", body)
	}
	if w.Code < 200 || w.Code > 599 {
		t.Errorf("status %d", w.Code)
	}
	kind, params, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	if len(body) == 0 || r.Method == "HEAD" || strings.HasPrefix(params, "stream=") || w.Header().Get("Transfer-Encoding") != "" || r.URL.Query().Has("watch") || strings.Contains(r.URL.Path, "/watch/") {
		return
	}
	var content map[string]any
	var err error
	switch kind {
	case "application/json":
		if err = json.Unmarshal(body, &content); err == nil && content["metadata"] != nil && w.Code < 300 {
			c.last = bytes.Clone(body)
		}
	case "application/yaml":
		err = yaml.Unmarshal(body, &content)
	case "application/vnd.kubernetes.protobuf":
		_, _, err = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(body, nil, nil)
		if runtime.IsNotRegisteredError(err) {
			err = nil // tables and metadata are in no scheme
		}
	case "application/cbor":
		_, _, err = cbor.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(body, nil, &unstructured.Unstructured{})
	}
	if err != nil {
		t.Errorf("it is no %s: %v", kind, err)
	}
}

var segments = []string{
	"api", "apis", "v1", "apps", "namespaces", "default", "pods", "a", "watch", "proxy", "status", "", "..", "%", "é", "x:y:z", "log", "exec", "scale", "token", "healthz", "metrics", "openapi", "v3", "readyz", "ping", "version",
}

func (c *caller) path(method string) string {
	if c.chance(6) {
		var b strings.Builder
		for range c.rand.Intn(8) {
			b.WriteString("/" + c.one(segments...))
		}
		return b.String()
	}
	k := c.kind
	if c.chance(5) {
		k = c.kinds[c.rand.Intn(len(c.kinds))]
	}
	path := "/apis/" + k.GVR.Group + "/" + k.GVR.Version
	if k.GVR.Group == "" {
		path = "/api/" + k.GVR.Version
	}
	if c.chance(3) {
		path += "/watch"
	}
	if k.Namespaced != c.chance(3) {
		path += "/namespaces/default"
	}
	path += "/" + k.GVR.Resource
	if method != "POST" && c.chance(75) || c.chance(10) {
		path += "/" + c.one("a", "web", "default", "-")
		if c.chance(25) {
			subs := []string{"status", "scale", c.one(segments...)}
			for _, s := range k.Subresources {
				subs = append(subs, s.Name)
			}
			path += "/" + c.one(subs...)
		}
	}
	return path
}

var parameters = map[string][]string{
	"watch":                {"1", "0", "true", "x"},
	"limit":                {"1", "0", "-1", "x", "9223372036854775807"},
	"continue":             {"x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", "e30"},
	"resourceVersion":      {"0", "1", "5", "999999999", "-1", "x", ""},
	"resourceVersionMatch": {"Exact", "NotOlderThan", "x"},
	"sendInitialEvents":    {"true", "false", "x"},
	"allowWatchBookmarks":  {"true"},
	"timeoutSeconds":       {"0", "1", "-1", "x"},
	"timeout":              {"1ms", "0", "x", "-1s", "10000h"},
	"labelSelector":        {"a=b", "a in (b,c),!d", "(", "a>1", strings.Repeat("a", 300)},
	"fieldSelector":        {"metadata.name=a", "metadata.name!=a,metadata.namespace=default", "spec.x=1", "=", "status.phase=Running"},
	"dryRun":               {"All", "x", ""},
	"fieldManager":         {"m", "\x00", strings.Repeat("m", 129)},
	"force":                {"true", "false", "x"},
	"fieldValidation":      {"Strict", "Warn", "Ignore", "x"},
	"pretty":               {"1", "x"},
	"propagationPolicy":    {"Orphan", "Foreground", "Background", "x"},
	"gracePeriodSeconds":   {"0", "1", "-1", "x"},
	"orphanDependents":     {"true"},
	"includeObject":        {"None", "Object", "Metadata", "x"},
	"command":              {"ls"},
	"container":            {"c"},
	"verbose":              {"1"},
	"exclude":              {"ping"},
}

func (c *caller) query() string {
	values := url.Values{}
	for range c.rand.Intn(9) / 3 {
		name := c.one(slices.Sorted(maps.Keys(parameters))...)
		values.Add(name, c.one(parameters[name]...))
	}
	if c.chance(2) {
		return values.Encode() + "&%zz;=&"
	}
	return values.Encode()
}

func (c *caller) headers(h http.Header) {
	if c.chance(60) {
		h.Set("Accept", c.one("application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor", "*/*", "text/html",
			"application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "application/yaml;as=Table;v=v1beta1;g=meta.k8s.io",
			"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf;stream=watch"))
	}
	if c.chance(5) {
		h.Set(c.one("Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-a%zz", "Connection", "Upgrade", "Content-Encoding", "Accept-Encoding", "If-None-Match", "Origin"), c.one("jane", "gzip", "SPDY/3.1", "websocket", "system:node:a", ""))
	}
}

// body makes what is sent: an object, a patch of one, or something else.
func (c *caller) body(method string) (contentType string, body []byte) {
	if method == "GET" || method == "HEAD" || c.chance(3) {
		return "", nil
	}
	if method == "DELETE" && c.chance(80) {
		return c.one("", "application/json"), []byte(c.one("", `{"gracePeriodSeconds":0}`, `{"preconditions":{"uid":"x","resourceVersion":"1"}}`, `{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Foreground","dryRun":["All"]}`, `{"gracePeriodSeconds":"x"}`))
	}
	object := c.object()
	if method == "PATCH" {
		contentType, body = c.patch(object)
	} else {
		contentType, body = c.encode(object)
	}
	if c.chance(10) && len(body) > 0 {
		body = bytes.Clone(body)
		for range 1 + c.rand.Intn(3) {
			body[c.rand.Intn(len(body))] = byte(c.rand.Intn(256))
		}
		body = body[:len(body)-c.rand.Intn(len(body))*c.rand.Intn(2)]
	}
	return contentType, body
}

// object is one of the kind at hand, a changed example or a changed answer.
func (c *caller) object() api.Object {
	obj := c.kind.Empty()
	if c.last == nil || c.chance(50) || json.Unmarshal(c.last, obj) != nil {
		obj = c.kind.Empty()
		name := c.kind.Resource.GroupResource().String()
		if c.kind.Version != nil {
			name += "@" + c.kind.GVR.Group + "." + c.kind.GVR.Version
		}
		if examples, err := mutation.Examples(name); err == nil && len(examples) > 0 {
			_ = json.Unmarshal(examples[c.rand.Intn(len(examples))], obj)
		}
	}
	c.change.Change(obj, c.rand.Intn(5))
	if c.chance(85) {
		obj.SetName(c.one("a", "web", "default"))
	}
	if c.kind.Namespaced && c.chance(90) {
		obj.SetNamespace("default")
	}
	if c.chance(60) {
		obj.SetResourceVersion("")
	}
	if !c.chance(10) {
		obj.SetFinalizers(nil)
	}
	obj.GetObjectKind().SetGroupVersionKind(c.kind.GVK)
	return obj
}

func (c *caller) encode(obj api.Object) (string, []byte) {
	text, err := json.Marshal(obj)
	if err != nil {
		return "application/json", []byte(err.Error())
	}
	var out bytes.Buffer
	switch c.rand.Intn(6) {
	case 0:
		if text, err := yaml.JSONToYAML(text); err == nil {
			return "application/yaml", text
		}
	case 1:
		if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(obj, &out); err == nil {
			return "application/vnd.kubernetes.protobuf", out.Bytes()
		}
	}
	return c.one("application/json", "application/json", "application/json", "application/json;charset=utf-8", "", "text/plain"), text
}

func (c *caller) patch(obj api.Object) (string, []byte) {
	text, err := json.Marshal(obj)
	if err != nil {
		return "", nil
	}
	if c.chance(30) {
		return "application/json-patch+json", []byte(c.one(
			`[{"op":"add","path":"/metadata/labels","value":{"a":"b"}}]`, `[{"op":"remove","path":"/spec"}]`, `[{"op":"test","path":"/kind","value":"x"}]`,
			`[{"op":"copy","from":"","path":"/spec"}]`, `[{"op":"replace","path":"/metadata/name","value":7}]`, `[{"op":"move","from":"/metadata","path":"/spec/-"}]`, `{}`, `[{}]`, `[null]`))
	}
	if c.chance(30) {
		var content map[string]any
		if json.Unmarshal(text, &content) == nil {
			if meta, ok := content["metadata"].(map[string]any); ok {
				meta["managedFields"] = c.managed()
			}
			if again, err := json.Marshal(content); err == nil {
				text = again
			}
		}
	}
	return c.one("application/merge-patch+json", "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/apply-patch+yaml", "application/json"), text
}

// managed is what a client may say of who owns which fields.
func (c *caller) managed() any {
	field := func() string {
		return c.one("f:spec", "f:metadata", "f:labels", "f:a", `k:{"name":"c"}`, `k:{"x":[]}`, "k:{", `v:"a"`, "v:{}", "i:0", "i:-1", "i:x", ".", "", "x:y", "f:containers", "f:replicas")
	}
	var set func(depth int) map[string]any
	set = func(depth int) map[string]any {
		m := map[string]any{}
		for range c.rand.Intn(3) {
			if depth > 4 {
				break
			}
			m[field()] = set(depth + 1)
		}
		return m
	}
	var list []any
	for range c.rand.Intn(3) {
		list = append(list, map[string]any{
			"manager": c.one("m", "", "kubectl"), "operation": c.one("Apply", "Update", "x"), "apiVersion": c.one(c.kind.GVK.GroupVersion().String(), "v1", "apps/v1", "x/y/z", ""),
			"fieldsType": c.one("FieldsV1", "FieldsV1", "x"), "fieldsV1": set(0), "subresource": c.one("", "status", "x"), "time": c.one("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
		})
	}
	return list
}
