package apiserver_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/watch"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	clientfeatures "k8s.io/client-go/features"
	featuretesting "k8s.io/client-go/features/testing"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clipper/apiserver"
	"clipper/apiserver/servertest"
)

const (
	cborT      = "application/cbor"
	applyCBORT = "application/apply-patch+cbor"
)

func withCBOR(o *apiserver.Options) { o.Features.CBOR = true }

// cborOnly lets nothing but CBOR through, so that no client falls back on something else unnoticed.
type cborOnly struct {
	t    *testing.T
	next http.RoundTripper
}

func (c cborOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := r.Header.Get("Content-Type")
	res, err := c.next.RoundTrip(r)
	if err == nil {
		got := res.Header.Get("Content-Type")
		if !strings.HasPrefix(got, cborT) || sent != "" && sent != cborT && !strings.HasSuffix(sent, "+cbor") && !strings.HasSuffix(sent, "+json") {
			c.t.Errorf("%s %s: sent %q, got %q", r.Method, r.URL, sent, got)
		}
	}
	return res, err
}

func cborConfig(t *testing.T, s *servertest.Server) *rest.Config {
	t.Helper()
	featuretesting.SetFeatureDuringTest(t, clientfeatures.ClientsAllowCBOR, true)
	featuretesting.SetFeatureDuringTest(t, clientfeatures.ClientsPreferCBOR, true)
	c := rest.CopyConfig(s.Config)
	c.ContentType, c.AcceptContentTypes = cborT, cborT
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return cborOnly{t, next} })
	return c
}

// TestCBORClients: clients of client-go that speak nothing but CBOR.
func TestCBORClients(t *testing.T) {
	s := start(t, servertest.Options{Server: withCBOR})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	config := cborConfig(t, s)
	typed := kubernetes.NewForConfigOrDie(config).CoreV1().ConfigMaps("default")
	untyped := dynamic.NewForConfigOrDie(config).Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default")

	watching := must(untyped.Watch(ctx, metav1.ListOptions{ResourceVersion: "0"}))(t)
	defer watching.Stop()
	created := must(typed.Create(ctx, configMap("a"), metav1.CreateOptions{}))(t)
	if created.Data["a"] != "b" || created.UID == "" || created.Kind != "" && created.Kind != "ConfigMap" {
		t.Errorf("created %v", created)
	}
	read := must(untyped.Get(ctx, "a", metav1.GetOptions{}))(t)
	if read.GetKind() != "ConfigMap" || read.GetUID() != created.UID {
		t.Errorf("read %v", read)
	}
	applied := must(untyped.Apply(ctx, "a", &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "a"}, "data": map[string]any{"c": "d"}}}, metav1.ApplyOptions{FieldManager: "me"}))(t)
	if data, _, _ := unstructured.NestedStringMap(applied.Object, "data"); data["a"] != "b" || data["c"] != "d" || len(applied.GetManagedFields()) != 2 {
		t.Errorf("applied %v", applied)
	}
	if got := must(typed.Apply(ctx, corev1apply.ConfigMap("new", "default").WithData(map[string]string{"x": "y"}), metav1.ApplyOptions{FieldManager: "me"}))(t); got.Data["x"] != "y" {
		t.Errorf("applied %v", got)
	}
	list := must(typed.List(ctx, metav1.ListOptions{}))(t)
	if len(list.Items) != 2 || list.Items[0].Data["c"] != "d" || list.ResourceVersion == "" {
		t.Errorf("list %v", list)
	}
	var grace int64
	if err := typed.Delete(ctx, "new", metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: metav1.NewUIDPreconditions("other")}); !apierrors.IsConflict(err) {
		t.Errorf("delete of another: %v", err)
	}
	if err := untyped.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := typed.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get of what is gone: %v", err)
	}
	for _, want := range []watch.EventType{watch.Added, watch.Modified, watch.Added, watch.Deleted, watch.Deleted} {
		e := <-watching.ResultChan()
		if u, ok := e.Object.(*unstructured.Unstructured); e.Type != want || !ok || u.GetKind() != "ConfigMap" {
			t.Errorf("event %v %v, want %v", e.Type, e.Object, want)
		}
	}
}

const thingDefinition = `{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.x.io"},
  "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
    "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
      "spec": {"type": "object", "properties": {"n": {"type": "integer"}, "f": {"type": "number"}, "s": {"type": "string"}}}}}}}]}}`

// TestCBORCustomResources: the same for a kind that the server learns of while it runs.
func TestCBORCustomResources(t *testing.T) {
	s := start(t, servertest.Options{Server: withCBOR})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if res, body := (call{method: "POST", path: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", contentType: jsonT, body: thingDefinition}).do(t, s); res.StatusCode != http.StatusCreated {
		t.Fatalf("definition: %s", body)
	}
	for res, _ := (call{method: "GET", path: "/apis/x.io/v1/things"}).do(t, s); res.StatusCode != http.StatusOK; res, _ = (call{method: "GET", path: "/apis/x.io/v1/things"}).do(t, s) {
		if ctx.Err() != nil {
			t.Fatal("the kind is not served")
		}
	}
	things := dynamic.NewForConfigOrDie(cborConfig(t, s)).Resource(schema.GroupVersionResource{Group: "x.io", Version: "v1", Resource: "things"}).Namespace("default")
	thing := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "x.io/v1", "kind": "Thing", "metadata": map[string]any{"name": "t"},
		"spec": map[string]any{"n": int64(1) << 60, "f": 0.1, "s": "é", "lost": true}}}
	if _, err := things.Create(ctx, thing, metav1.CreateOptions{FieldValidation: "Strict"}); err == nil || !strings.Contains(err.Error(), `strict decoding error: unknown field "spec.lost"`) {
		t.Errorf("strict: %v", err)
	}
	got := must(things.Create(ctx, thing, metav1.CreateOptions{}))(t)
	if spec := got.Object["spec"].(map[string]any); len(spec) != 3 || spec["n"] != int64(1)<<60 || spec["f"] != 0.1 || spec["s"] != "é" {
		t.Errorf("spec %v", spec)
	}
	list := must(things.List(ctx, metav1.ListOptions{}))(t)
	if len(list.Items) != 1 || list.Items[0].GetKind() != "Thing" || list.GetKind() != "ThingList" || list.GetResourceVersion() == "" {
		t.Errorf("list %v", list)
	}
	thing.Object["spec"] = map[string]any{"n": int64(2)}
	if got = must(things.Apply(ctx, "t", thing, metav1.ApplyOptions{FieldManager: "me", Force: true}))(t); got.GetGeneration() != 2 {
		t.Errorf("applied %v", got)
	}
	watching := must(things.Watch(ctx, metav1.ListOptions{}))(t)
	defer watching.Stop()
	if e := <-watching.ResultChan(); e.Type != watch.Added || e.Object.(*unstructured.Unstructured).GetName() != "t" {
		t.Errorf("event %v", e)
	}
}

func encodeCBOR(t *testing.T, v any) string {
	t.Helper()
	return string(must(direct.Marshal(v))(t))
}

// TestCBORBodies: what upstream says of bodies that are not as they should be.
func TestCBORBodies(t *testing.T) {
	s := start(t, servertest.Options{Server: withCBOR})
	named := map[string]any{"name": "x"}
	for name, tt := range map[string]struct {
		call
		code int
		text string
	}{
		"unknown field": {call{path: cms + "?fieldValidation=Strict", body: encodeCBOR(t, map[string]any{"metadata": named, "x": 1})}, 400,
			`ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: cbor: found unknown field at map element index`},
		"ignored field": {call{path: cms + "?fieldValidation=Ignore&dryRun=All", body: encodeCBOR(t, map[string]any{"metadata": named, "x": 1})}, 201, ""},
		"other kind": {call{path: cms, body: encodeCBOR(t, map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": named})}, 400,
			"Secret in version \"v1\" cannot be handled as a ConfigMap: converting (v1.Secret) to (core.ConfigMap): unknown conversion"},
		"other type":    {call{path: cms, body: encodeCBOR(t, map[string]any{"metadata": named, "data": "text"})}, 400, `ConfigMap in version "v1" cannot be handled as a ConfigMap: cbor: cannot unmarshal`},
		"twice":         {call{path: cms, body: "\xa1\x44data\xa2\x41a\x41b\x41a\x41c"}, 400, `cbor: found duplicate map key`},
		"cut off":       {call{path: cms, body: "\xa1\x44data"}, 400, "the object provided is unrecognized (must be of type ConfigMap): unable to determine group/version/kind: unexpected EOF (a14464617461)"},
		"empty":         {call{path: cms}, 400, "(<empty>)"},
		"JSON":          {call{path: cms, body: `{"metadata":{"name":"x"}}`}, 400, "the object provided is unrecognized (must be of type ConfigMap)"},
		"deep":          {call{path: cms, body: strings.Repeat("\x81", 20000)}, 400, "exceeded max nested level 10000"},
		"huge":          {call{path: cms, body: "\xa1\x44data\xbb\x7f\xff\xff\xff\xff\xff\xff\xff"}, 400, "unable to determine group/version/kind"},
		"apply, broken": {call{method: "PATCH", path: cms + "/x?fieldManager=me", contentType: applyCBORT, body: "\xa1"}, 400, "error decoding YAML: unexpected EOF"},
		"apply, unowned": {call{method: "PATCH", path: cms + "/x", contentType: applyCBORT, body: "\xa0"}, 422,
			"fieldManager: Required value: is required for apply patch"},
		"merge patch": {call{method: "PATCH", path: cms + "/x", contentType: cborT, body: "\xa0"}, 415, "415: Unsupported Media Type"},
	} {
		t.Run(name, func(t *testing.T) {
			c := tt.call
			if c.method == "" {
				c.method, c.contentType = "POST", cborT
			}
			c.accept = cborT
			res, body := c.do(t, s)
			var status metav1.Status
			if err := direct.Unmarshal(body, &status); tt.code >= 400 && err != nil {
				t.Fatalf("%q: %v", body, err)
			}
			if res.StatusCode != tt.code || res.Header.Get("Content-Type") != cborT || !strings.Contains(status.Message, tt.text) {
				t.Errorf("%d %s %q", res.StatusCode, res.Header.Get("Content-Type"), status.Message)
			}
		})
	}
}

// TestCBORForms: metadata, discovery, and where there is no CBOR even so.
func TestCBORForms(t *testing.T) {
	s := start(t, servertest.Options{Server: withCBOR})
	asJSON, _ := clients(t, s)
	must(asJSON.CoreV1().ConfigMaps("default").Create(t.Context(), configMap("a"), metav1.CreateOptions{}))(t)
	_, body := call{method: "GET", path: cms, accept: cborT + ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}.do(t, s)
	var partial metav1.PartialObjectMetadataList
	if err := direct.Unmarshal(body, &partial); err != nil || partial.Kind != "PartialObjectMetadataList" || partial.Items[0].Name != "a" {
		t.Errorf("metadata %v, %v", partial, err)
	}
	_, body = call{method: "GET", path: "/api/v1", accept: cborT}.do(t, s)
	var resources metav1.APIResourceList
	if err := direct.Unmarshal(body, &resources); err != nil || resources.Kind != "APIResourceList" || len(resources.APIResources) < 30 {
		t.Errorf("discovery %v, %v", resources, err)
	}
	for _, tt := range []struct{ path, accept, text string }{
		{"/apis", cborT, "are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf\","},
		{cms + "?watch=1", "application/yaml, text/x", "application/vnd.kubernetes.protobuf;stream=watch, application/cbor-seq"},
		{cms + "?watch=1", "text/x", "application/vnd.kubernetes.protobuf, application/cbor"}, // what no list comes in either
		{cms + "?watch=1", cborT + ";as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf, application/cbor"},
		{cms, cborT + ";as=Table;v=v1;g=meta.k8s.io", "application/vnd.kubernetes.protobuf, application/cbor"}, // tables are JSON or YAML
		{cms, "text/x", "Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf, application/cbor"},
	} {
		res, body := call{method: "GET", path: tt.path, accept: tt.accept}.do(t, s)
		if text := strings.Join(strings.Fields(string(body)), " "); res.StatusCode != http.StatusNotAcceptable || !strings.Contains(text, tt.text) {
			t.Errorf("%s: %d %s", tt.path, res.StatusCode, body)
		}
	}
}

// TestNoCBOR: without the gate a server says what it takes, and client-go goes on in JSON.
func TestNoCBOR(t *testing.T) {
	s := start(t, servertest.Options{})
	for _, c := range []call{
		{method: "GET", path: cms, accept: cborT},
		{method: "POST", path: cms, contentType: cborT, body: "\xa0"},
		{method: "PATCH", path: cms + "/x?fieldManager=me", contentType: applyCBORT, body: "\xa0"},
	} {
		res, body := c.do(t, s)
		want := http.StatusUnsupportedMediaType
		if c.accept != "" {
			want = http.StatusNotAcceptable
		}
		if res.StatusCode != want || strings.Contains(string(body), "cbor") {
			t.Errorf("%s: %d %s", c.method, res.StatusCode, body)
		}
	}
	featuretesting.SetFeatureDuringTest(t, clientfeatures.ClientsAllowCBOR, true)
	featuretesting.SetFeatureDuringTest(t, clientfeatures.ClientsPreferCBOR, true)
	d := dynamic.NewForConfigOrDie(s.Config).Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace("default")
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "x"}}}
	if _, err := d.Create(t.Context(), u, metav1.CreateOptions{}); !apierrors.IsUnsupportedMediaType(err) {
		t.Errorf("first: %v", err)
	}
	must(d.Create(t.Context(), u, metav1.CreateOptions{}))(t)
}
