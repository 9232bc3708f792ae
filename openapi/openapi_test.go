package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"clipper/api"
	"clipper/catalogue"
)

func testResources() []*catalogue.Resource {
	return []*catalogue.Resource{
		{Resource: api.Pods.Resource, ListKind: "PodList", Status: &catalogue.Status{}, Subresources: []catalogue.Subresource{
			{Name: "eviction", Group: "policy", Version: "v1", Kind: "Eviction", Verbs: []string{"create"}, New: func() runtime.Object { return nil }},
			{Name: "exec", Kind: "PodExecOptions", Verbs: []string{"create", "get"}}, {Name: "log", Kind: "Pod", Verbs: []string{"get"}},
			{Name: "proxy", Kind: "PodProxyOptions", Verbs: []string{"get"}}}},
		{Resource: api.Nodes.Resource, ListKind: "NodeList"},
		{Resource: api.Deployments.Resource, ListKind: "DeploymentList", Status: &catalogue.Status{}, Scale: &catalogue.Scale{}},
	}
}

func get(t *testing.T, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	New(testResources).ServeHTTP(w, r)
	return w
}

// TestV3Documents follows what kubectl does: the index, then the document it points to, by operation and kind.
func TestV3Documents(t *testing.T) {
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	w := get(t, "/openapi/v3", "")
	if err := json.Unmarshal(w.Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(index.Paths))
	if want := []string{".well-known/openid-configuration", "api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "openid/v1/jwks", "version"}; !slices.Equal(got, want) {
		t.Fatalf("index has %v, not %v", got, want)
	}
	w = get(t, index.Paths["apis/apps/v1"].ServerRelativeURL, "application/json")
	if w.Code != 200 || w.Header().Get("Cache-Control") != "public, immutable" {
		t.Fatalf("status %d, headers %v", w.Code, w.Header())
	}
	var doc spec3.OpenAPI
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	item := doc.Paths.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
	if item == nil || item.Patch == nil || item.Patch.OperationId != "patchAppsV1NamespacedDeployment" {
		t.Fatalf("no patch operation: %+v", item)
	}
	var validated bool
	for _, p := range item.Patch.Parameters {
		validated = validated || p.Name == "fieldValidation"
	}
	if !validated {
		t.Error("patch does not offer fieldValidation; kubectl would refuse to validate")
	}
	for _, want := range []string{"io.k8s.api.apps.v1.Deployment", "io.k8s.api.core.v1.PodSpec", "io.k8s.api.autoscaling.v1.Scale"} {
		if doc.Components.Schemas[want] == nil {
			t.Errorf("schema %s is missing", want)
		}
	}
	if kinds, _ := json.Marshal(doc.Components.Schemas[deleteModel].Extensions["x-kubernetes-group-version-kind"]); string(kinds) != `[{"group":"","kind":"DeleteOptions","version":"v1"},{"group":"apps","kind":"DeleteOptions","version":"v1"}]` {
		t.Errorf("DeleteOptions are %s", kinds)
	}
	for path := range doc.Paths.Paths {
		if strings.Contains(path, "/pods") {
			t.Errorf("document of apps has %s", path)
		}
	}
}

// TestOperations: what the paths of pods are called, lists across namespaces and streams among them.
func TestOperations(t *testing.T) {
	var doc spec3.OpenAPI
	if err := json.Unmarshal(get(t, "/openapi/v3/api/v1", "application/json").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	const pod = "/api/v1/namespaces/{namespace}/pods/{name}"
	for path, want := range map[string]string{
		"/api/v1/pods":                        "listCoreV1PodForAllNamespaces",
		"/api/v1/namespaces/{namespace}/pods": "listCoreV1NamespacedPod",
		pod:                                   "readCoreV1NamespacedPod",
		pod + "/status":                       "readCoreV1NamespacedPodStatus",
		pod + "/log":                          "readCoreV1NamespacedPodLog",
		pod + "/exec":                         "connectCoreV1GetNamespacedPodExec",
		pod + "/proxy/{path}":                 "connectCoreV1GetNamespacedPodProxyWithPath",
		"/api/v1/nodes/{name}":                "readCoreV1Node",
	} {
		if item := doc.Paths.Paths[path]; item == nil || item.Get == nil || item.Get.OperationId != want {
			t.Errorf("%s: want operation %s", path, want)
		}
	}
	for path, want := range map[string]string{
		"/api/v1/":           "get available resources",
		"/api/v1/pods":       "list or watch objects of kind Pod",
		"/api/v1/watch/pods": "watch individual changes to a list of Pod. deprecated: use the 'watch' parameter with a list operation instead.",
		"/api/v1/watch/namespaces/{namespace}/pods/{name}": "watch changes to an object of kind Pod. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
		pod + "/status": "read status of the specified Pod",
		pod + "/exec":   "connect GET requests to exec of Pod",
	} {
		if item := doc.Paths.Paths[path]; item == nil || item.Get == nil || item.Get.Description != want {
			t.Errorf("%s: want %q", path, want)
		}
	}
	// What all operations of a path take is said once.
	if item := doc.Paths.Paths[pod]; len(item.Parameters) != 3 || item.Parameters[0].Description != "name of the Pod" || len(item.Get.Parameters) != 0 {
		t.Errorf("parameters of %s: %+v", pod, item.Parameters)
	}
	if doc.Paths.Paths["/api/v1/nodes"].Get.OperationId != "listCoreV1Node" {
		t.Error("nodes are not listed once")
	}
}

// TestSharedParameters: version 2 names parameters that say the same everywhere as upstream does, by their content.
func TestSharedParameters(t *testing.T) {
	var doc spec.Swagger
	if err := json.Unmarshal(get(t, "/openapi/v2", "application/json").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"allowWatchBookmarks-HC2hJt-J", "body-2Y1dVQaQ", "body-78PwaGsr", "command-Py3eQybp", "continue-QfD61s0i",
		"namespace-vgWSWtn3", "pretty-tJGM1-ng", "shardSelector-Kgyki_3_", "stdin-PSzNhyUC", "timeoutSeconds-yvYezaOC", "watch-XNNPZGbK"} {
		if _, ok := doc.Parameters[name]; !ok {
			t.Errorf("no parameter %s", name)
		}
	}
	if port := doc.Definitions["io.k8s.api.core.v1.ContainerPort"].Properties["protocol"]; port.Default != nil {
		t.Error("version 2 has defaults")
	}
	refs := map[string]bool{}
	for _, p := range doc.Paths.Paths["/api/v1/namespaces/{namespace}/pods"].Get.Parameters {
		refs[p.Ref.String()] = true
	}
	if !refs["#/parameters/watch-XNNPZGbK"] {
		t.Errorf("a list's parameters are %v", refs)
	}
}

// TestExtensions: what other servers serve is in both documents; one that cannot be read hides nothing.
func TestExtensions(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, `{"swagger":"2.0","info":{"title":"m","version":"1"},"paths":{"/apis/m.example.com/v1/things":{"get":{"operationId":"listThing",`+
		`"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/com.example.m.v1.Thing"}}}}},"/other/":{"get":{"responses":{"200":{"description":"OK"}}}}},`+
		`"definitions":{"com.example.m.v1.Thing":{"type":"object"}}}`)
	z.Close()
	d := New(testResources)
	d.Extend(func() []Extension {
		return []Extension{{Path: "apis/m.example.com/v1", V3: "/openapi/v3/apis/m.example.com/v1?hash=A", V2: packed.Bytes()}, {Path: "apis/bad/v1", V2: []byte("no gzip")}}
	})
	body := func(path string) string {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Body.String()
	}
	v2 := body("/openapi/v2")
	for _, want := range []string{"/apis/m.example.com/v1/things", "com.example.m.v1.Thing", "io.k8s.api.apps.v1.Deployment"} {
		if !strings.Contains(v2, want) {
			t.Errorf("v2 lacks %s", want)
		}
	}
	if strings.Contains(v2, `"/other/"`) {
		t.Error("v2 has a path outside the extension's group version")
	}
	if index := body("/openapi/v3"); !strings.Contains(index, `"apis/m.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/m.example.com/v1?hash=A"}`) || strings.Contains(index, "bad") {
		t.Errorf("index %s", index)
	}
}

// FuzzExtension: whatever another server sends as its document, ours is still served.
func FuzzExtension(f *testing.F) {
	f.Add(`{"swagger":"2.0","paths":{"/apis/m/v1/x":{"get":{"responses":{"200":{"schema":{"$ref":"#/definitions/a"}}}}}},"definitions":{"a":{"$ref":"#/definitions/a"}}}`)
	for _, text := range []string{
		`{"paths":{"/apis/m/v1/x":null},"definitions":null}`, `{}`, `null`, `{"paths":null}`, `{"definitions":{"b":{"type":"string"}}}`,
		`{"paths":{"/apis/m/v1/x":{"get":{"responses":null,"parameters":[{"$ref":"#/parameters/none"}]}}},"definitions":{"b":{"type":"string","$ref":"#/definitions/missing"}}}`,
		`{"paths":{"/apis/m/v1/x":{"parameters":[{}],"post":{"responses":{"default":{"$ref":"#/responses/x"}}}}},"parameters":{"p":{}}}`,
	} {
		f.Add(text)
	}
	ours := join([]part{{{inDefinitions, "b", []byte(`{"type":"object"}`)}}})
	f.Fuzz(func(t *testing.T, text string) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		io.WriteString(z, text)
		z.Close()
		more, err := Extension{Path: "apis/m/v1", V2: packed.Bytes()}.addTo(ours)
		for _, e := range more {
			if !json.Valid(e.text) || e.section == inPaths && !strings.HasPrefix(e.name, "/apis/m/v1/") {
				t.Errorf("%q: %v %s", text, err, e.text)
			}
		}
	})
}

func TestProtobufDocumentsParse(t *testing.T) {
	w := get(t, "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	if _, _, err := mime.ParseMediaType(w.Header().Get("Content-Type")); err != nil {
		t.Errorf("Content-Type %q: %v; clients give up on it", w.Header().Get("Content-Type"), err)
	}
	var v2 openapiv2.Document
	if err := proto.Unmarshal(w.Body.Bytes(), &v2); err != nil || len(v2.GetDefinitions().GetAdditionalProperties()) < 100 {
		t.Errorf("v2: %v, %d definitions", err, len(v2.GetDefinitions().GetAdditionalProperties()))
	}
	w = get(t, "/openapi/v3/api/v1", mediaProtoV3)
	var v3 openapiv3.Document
	if err := proto.Unmarshal(w.Body.Bytes(), &v3); err != nil || len(v3.GetPaths().GetPath()) == 0 {
		t.Errorf("v3: %v, %d paths", err, len(v3.GetPaths().GetPath()))
	}
}

// TestProtobufEqualsLibrary: the protobuf forms say what the library makes of the JSON ones.
func TestProtobufEqualsLibrary(t *testing.T) {
	odd := namesake("example.com", "v1", "Odd", "com.example.v1.Odd")
	odd.Custom.Schema = func(catalogue.OpenAPI) (catalogue.Schema, error) {
		return catalogue.Schema{Model: "com.example.v1.Odd", Selectable: []byte(`[{"fieldPath":"spec.a"}]`), Text: []byte(`{"type":"object","description":"a: b\n\"c\" <é> 😀","properties":{` +
			`"number":{"type":"number","minimum":-1.5e3,"maximum":12345678901234567890,"default":1.0,"enum":[1,2.5,1e400,123456789012345678901,-0,"3",null,true]},` +
			`"text":{"type":"string","default":"2020-01-01","enum":["yes","~","","0x1"," x"],"pattern":"^\\d$"},"empty":{"type":"object","default":{},"x-kubernetes-map-type":"atomic"},` +
			`"list":{"type":"array","default":[],"items":{"type":"object"},"x-kubernetes-list-map-keys":["a","1"],"maxItems":10,"uniqueItems":true},` +
			`"any":{"x-kubernetes-int-or-string":true,"x-kubernetes-validations":[{"rule":"self == 1 || self == 'a'","message":"no: \"x\""}]}},` +
			`"x-kubernetes-group-version-kind":[{"group":"example.com","kind":"Odd","version":"v1"}]}`)}, nil
	}
	documents := New(func() []*catalogue.Resource {
		return append(testResources(), odd, namesake("core.api.k8s.io", "v1", "Pod", "io.k8s.api.core.v1.Pod"))
	})
	body := func(path, accept string) []byte {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		documents.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	for path, form := range map[string]struct {
		media string
		got   proto.Message
		parse func([]byte) (proto.Message, error)
	}{
		"/openapi/v2":                     {mediaProtoV2, &openapiv2.Document{}, func(b []byte) (proto.Message, error) { return openapiv2.ParseDocument(b) }},
		"/openapi/v3/apis/example.com/v1": {mediaProtoV3, &openapiv3.Document{}, func(b []byte) (proto.Message, error) { return openapiv3.ParseDocument(b) }},
		"/openapi/v3/apis/apps/v1":        {mediaProtoV3, &openapiv3.Document{}, func(b []byte) (proto.Message, error) { return openapiv3.ParseDocument(b) }},
	} {
		want, err := form.parse(body(path, mediaJSON))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if err := proto.Unmarshal(body(path, form.media), form.got); err != nil || !proto.Equal(form.got, want) {
			t.Errorf("%s differs: %v; %d bytes, want %d", path, err, proto.Size(form.got), proto.Size(want))
		}
	}
}

func TestHTTP(t *testing.T) {
	for _, tt := range []struct {
		path, accept string
		code         int
	}{
		{"/openapi/v2", "application/json", 200},
		{"/openapi/v2", "text/html", 406},
		{"/openapi/v3/apis/none/v1", "", 404},
		{"/openapi/v4", "", 404},
	} {
		if w := get(t, tt.path, tt.accept); w.Code != tt.code {
			t.Errorf("%s accepting %q: %d, want %d", tt.path, tt.accept, w.Code, tt.code)
		}
	}
	if w := get(t, "/openapi/v3/api/v1?hash=OLD", ""); w.Code != 301 || !strings.HasPrefix(w.Header().Get("Location"), "/openapi/v3/api/v1?hash=") || strings.HasSuffix(w.Header().Get("Location"), "OLD") {
		t.Errorf("an old hash: %d %v", w.Code, w.Header())
	}
	d := New(testResources)
	first := httptest.NewRecorder()
	d.ServeHTTP(first, httptest.NewRequest("GET", "/openapi/v3/api/v1", nil))
	again := httptest.NewRequest("GET", "/openapi/v3/api/v1", nil)
	again.Header.Set("If-None-Match", first.Header().Get("Etag"))
	second := httptest.NewRecorder()
	d.ServeHTTP(second, again)
	if second.Code != http.StatusNotModified {
		t.Errorf("same ETag: %d, want 304", second.Code)
	}
	zipped := httptest.NewRequest("GET", "/openapi/v3/api/v1", nil)
	zipped.Header.Set("Accept-Encoding", "gzip")
	third := httptest.NewRecorder()
	d.ServeHTTP(third, zipped)
	if third.Header().Get("Content-Encoding") != "gzip" || third.Body.Len() >= first.Body.Len() {
		t.Errorf("gzip: %d bytes of %d", third.Body.Len(), first.Body.Len())
	}
	if _, err := io.Copy(io.Discard, first.Body); err != nil {
		t.Error(err)
	}
}

// TestTypeConverterEqualsLibrary compares field sets from the embedded types with those that the library
// derives from the full schemas.
func TestTypeConverterEqualsLibrary(t *testing.T) {
	var all map[string]*spec.Schema
	if err := unpack(packedV3, &all); err != nil {
		t.Fatal(err)
	}
	library, err := managedfields.NewTypeConverter(all, false)
	if err != nil {
		t.Fatal(err)
	}
	replicas := int32(2)
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{
		Containers:  []corev1.Container{{Name: "c", Image: "i", Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}}, Env: []corev1.EnvVar{{Name: "x", Value: "y"}}}},
		Tolerations: []corev1.Toleration{{Key: "k"}},
	}}
	for _, obj := range []runtime.Object{
		&corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: "p", Finalizers: []string{"f"}}, Spec: template.Spec},
		&appsv1.Deployment{TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, Spec: appsv1.DeploymentSpec{Replicas: &replicas, Template: template}},
		&corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Data: map[string]string{"k": "v"}, BinaryData: map[string][]byte{"b": {1}}},
		&corev1.Service{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80, Protocol: "TCP"}}, ClusterIPs: []string{"1.2.3.4"}}},
	} {
		want, err := library.ObjectToTyped(obj)
		if err != nil {
			t.Fatal(err)
		}
		got, err := TypeConverter().ObjectToTyped(obj)
		if err != nil {
			t.Fatal(err)
		}
		wantSet, err := want.ToFieldSet()
		if err != nil {
			t.Fatal(err)
		}
		gotSet, err := got.ToFieldSet()
		if err != nil {
			t.Fatal(err)
		}
		wantJSON, _ := wantSet.ToJSON()
		gotJSON, _ := gotSet.ToJSON()
		if !bytes.Equal(wantJSON, gotJSON) {
			t.Errorf("%T: field sets differ\n got %s\nwant %s", obj, gotJSON, wantJSON)
		}
		if _, err := TypeConverter().TypedToObject(got); err != nil {
			t.Error(err)
		}
	}
	unknown := &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v9", Kind: "Pod"}}
	if _, err := TypeConverter().ObjectToTyped(unknown); err == nil {
		t.Error("an unknown kind was converted")
	}
}

// TestForeignGroups: the document of version 2 says of what belongs to every group that it belongs to those, too, that
// servers know and do not serve; a document of version 3 without schemas does not speak of them.
func TestForeignGroups(t *testing.T) {
	var doc struct {
		Definitions map[string]struct {
			Kinds []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		}
	}
	if err := json.Unmarshal(get(t, "/openapi/v2", "").Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, model := range []string{deleteModel, eventModel} {
		groups := map[string]bool{}
		for _, k := range doc.Definitions[model].Kinds {
			groups[k.GroupVersion().String()] = true
		}
		for _, want := range []string{"admission.k8s.io/v1", "admission.k8s.io/v1beta1", "imagepolicy.k8s.io/v1alpha1", "apiextensions.k8s.io/v1beta1", "apiregistration.k8s.io/v1beta1", "apps/v1"} {
			if !groups[want] {
				t.Errorf("%s: not of %s", model, want)
			}
		}
	}
	if text := get(t, "/openapi/v3/openid/v1/jwks", "application/json").Body.String(); strings.Contains(text, `"schemas"`) {
		t.Errorf("schemas of nothing: %s", text)
	}
}
