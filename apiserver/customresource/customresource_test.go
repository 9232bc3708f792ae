package customresource_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"clipper/apiserver/servertest"
)

const definition = `{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "crontabs.stable.example.com"},
  "spec": {
    "group": "stable.example.com", "scope": "Namespaced",
    "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"]},
    "versions": [
      {"name": "v1", "served": true, "storage": true,
       "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
       "selectableFields": [{"jsonPath": ".spec.color"}],
       "additionalPrinterColumns": [{"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"}],
       "schema": {"openAPIV3Schema": {"type": "object", "properties": {
         "spec": {"type": "object", "required": ["cronSpec"], "properties": {
           "cronSpec": {"type": "string", "pattern": "^\\S+ \\S+$"},
           "replicas": {"type": "integer", "default": 1, "minimum": 0},
           "color": {"type": "string"},
           "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
             "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer"}}}}
          }, "x-kubernetes-validations": [{"rule": "self.replicas <= 10", "message": "too many"}]},
         "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}}}},
      {"name": "v2", "served": true, "storage": false,
       "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}
    ]}}`

type fixture struct {
	*testing.T
	s    *servertest.Server
	crds *clientset.Clientset
	v1   dynamic.ResourceInterface
	v2   dynamic.ResourceInterface
}

func setUp(t *testing.T) *fixture {
	t.Helper()
	s, err := servertest.Start(t.TempDir(), servertest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{T: t, s: s, crds: clientset.NewForConfigOrDie(s.Config)}
	d := dynamic.NewForConfigOrDie(s.Config)
	gvr := schema.GroupVersionResource{Group: "stable.example.com", Version: "v1", Resource: "crontabs"}
	f.v1 = d.Resource(gvr).Namespace("default")
	gvr.Version = "v2"
	f.v2 = d.Resource(gvr).Namespace("default")
	var crd apiextensionsv1.CustomResourceDefinition
	if err := json.Unmarshal([]byte(definition), &crd); err != nil {
		t.Fatal(err)
	}
	if _, err := f.crds.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), &crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("the kind is served", func() bool {
		_, err := f.v1.List(context.Background(), metav1.ListOptions{})
		return err == nil
	})
	return f
}

// until polls: what it waits for happens in another goroutine of the server.
func (f *fixture) until(what string, ok func() bool) {
	f.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			f.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func cronTab(name, spec string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	text := fmt.Sprintf(`{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":%q},"spec":%s}`, name, spec)
	if err := u.UnmarshalJSON([]byte(text)); err != nil {
		panic(err)
	}
	return u
}

func TestCustomResources(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	got, err := f.v1.Create(ctx, cronTab("a", `{"cronSpec":"* *","color":"red","unknown":1}`), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := got.Object["spec"].(map[string]any)
	if spec["replicas"] != int64(1) || spec["unknown"] != nil || got.GetGeneration() != 1 || got.GetUID() == "" || len(got.GetManagedFields()) != 1 {
		t.Errorf("created %v", got.Object)
	}
	for spec, want := range map[string]string{
		`{}`:                               `CronTab.stable.example.com "x" is invalid: [spec.cronSpec: Required value, <nil>: Invalid value: null: some validation rules were not checked`,
		`{"cronSpec":"no"}`:                `spec.cronSpec: Invalid value: "no": spec.cronSpec in body should match '^\S+ \S+$'`,
		`{"cronSpec":"* *","replicas":11}`: `spec: Invalid value: too many`,
		`{"cronSpec":5}`:                   `spec.cronSpec: Invalid value: "integer": spec.cronSpec in body must be of type string: "integer"`,
		`{"cronSpec":"* *","ports":[{"name":"a"},{"name":"a"}]}`: `spec.ports[1]: Duplicate value: {"name":"a"}`,
	} {
		if _, err := f.v1.Create(ctx, cronTab("x", spec), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", spec, err, want)
		}
	}
	_, err = f.v1.Create(ctx, cronTab("x", `{"cronSpec":"* *","unknown":1}`), metav1.CreateOptions{FieldValidation: "Strict"})
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `strict decoding error: unknown field "spec.unknown"`) {
		t.Errorf("strict: %v", err)
	}
	patched, err := f.v1.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":3},"status":{"replicas":9}}`), metav1.PatchOptions{})
	if err != nil || patched.GetGeneration() != 2 || patched.Object["status"] != nil {
		t.Errorf("patch: %v %v", err, patched)
	}
	patched, err = f.v1.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":5},"status":{"replicas":9}}`), metav1.PatchOptions{}, "status")
	if n, _, _ := unstructured.NestedInt64(patched.Object, "status", "replicas"); err != nil || n != 9 || patched.GetGeneration() != 2 {
		t.Errorf("status: %v %v", err, patched)
	}
	scale, err := f.v1.Get(ctx, "a", metav1.GetOptions{}, "scale")
	if n, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); err != nil || n != 3 || scale.GetKind() != "Scale" {
		t.Errorf("scale: %v %v", err, scale)
	}
	other, err := f.v2.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || other.GetAPIVersion() != "stable.example.com/v2" {
		t.Errorf("v2: %v %v", err, other)
	}
	list, err := f.v1.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=red"})
	if err != nil || len(list.Items) != 1 || list.Items[0].GetKind() != "CronTab" {
		t.Errorf("by field: %v %v", err, list)
	}
	if list, err = f.v1.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=blue"}); err != nil || len(list.Items) != 0 {
		t.Errorf("by other field: %v %v", err, list)
	}
}

// TestApply: lists that the schema calls maps are merged by key.
func TestApply(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	apply := func(manager, spec string) (*unstructured.Unstructured, error) {
		return f.v1.Apply(ctx, "a", cronTab("a", spec), metav1.ApplyOptions{FieldManager: manager})
	}
	if _, err := apply("one", `{"cronSpec":"* *","ports":[{"name":"a","port":1}]}`); err != nil {
		t.Fatal(err)
	}
	got, err := apply("two", `{"ports":[{"name":"b","port":2}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if ports, _, _ := unstructured.NestedSlice(got.Object, "spec", "ports"); len(ports) != 2 {
		t.Errorf("ports %v", ports)
	}
	if _, err = apply("two", `{"cronSpec":"1 1"}`); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `conflict with "one": .spec.cronSpec`) {
		t.Errorf("conflict: %v", err)
	}
}

// discovery compares what clients see of the kind, byte by byte, with what upstream's server shows.
func (f *fixture) discovery() {
	f.Helper()
	get := func(path, accept string) string {
		f.Helper()
		body, err := kubernetes.NewForConfigOrDie(f.s.Config).RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).Do(context.Background()).Raw()
		if err != nil {
			f.Fatal(err)
		}
		return strings.TrimSpace(string(body))
	}
	const verbs = `"verbs":["delete","deletecollection","get","list","patch","create","update","watch"]`
	const want = `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"stable.example.com/v1","resources":[` +
		`{"name":"crontabs","singularName":"crontab","namespaced":true,"kind":"CronTab",` + verbs + `,"shortNames":["ct"],"storageVersionHash":"%s"},` +
		`{"name":"crontabs/status","singularName":"","namespaced":true,"kind":"CronTab","verbs":["get","patch","update"]},` +
		`{"name":"crontabs/scale","singularName":"","namespaced":true,"group":"autoscaling","version":"v1","kind":"Scale","verbs":["get","patch","update"]}]}`
	sum := sha256.Sum256([]byte("stable.example.com/v1/CronTab"))
	if got, want := get("/apis/stable.example.com/v1", "application/json"), fmt.Sprintf(want, base64.StdEncoding.EncodeToString(sum[:8])); got != want {
		f.Errorf("got  %s\nwant %s", got, want)
	}
	const group = `{"metadata":{"name":"stable.example.com"},"versions":[{"version":"v2","resources":[` +
		`{"resource":"crontabs","responseKind":{"group":"stable.example.com","version":"v2","kind":"CronTab"},"scope":"Namespaced","singularResource":"crontab",` + verbs + `,"shortNames":["ct"]}],"freshness":"Current"},` +
		`{"version":"v1","resources":[{"resource":"crontabs","responseKind":{"group":"stable.example.com","version":"v1","kind":"CronTab"},"scope":"Namespaced","singularResource":"crontab",` + verbs + `,"shortNames":["ct"],` +
		`"subresources":[{"subresource":"status","responseKind":{"group":"stable.example.com","version":"v1","kind":"CronTab"},"verbs":["get","patch","update"]},` +
		`{"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},"verbs":["get","patch","update"]}]}],"freshness":"Current"}]}]}`
	if got := get("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"); !strings.HasSuffix(got, group) {
		f.Errorf("got  …%s\nwant …%s", got[max(0, len(got)-len(group)):], group)
	}
}

// TestDefinitionLifecycle: discovery, OpenAPI, a name that is taken, deletion with all objects.
func TestDefinitionLifecycle(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	cs := kubernetes.NewForConfigOrDie(f.s.Config)
	resources, err := cs.Discovery().ServerResourcesForGroupVersion("stable.example.com/v1")
	if err != nil || len(resources.APIResources) != 3 {
		t.Errorf("discovery: %v %v", err, resources)
	}
	f.discovery()
	for _, path := range []string{"/openapi/v3/apis/stable.example.com/v1", "/openapi/v2"} {
		doc, err := cs.RESTClient().Get().AbsPath(path).Do(ctx).Raw()
		if err != nil || !strings.Contains(string(doc), "com.example.stable.v1.CronTab") || !strings.Contains(string(doc), "cronSpec") {
			t.Errorf("%s: %v, %d bytes without the kind", path, err, len(doc))
		}
	}
	rival := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal([]byte(strings.NewReplacer(`crontabs.stable`, `rivals.stable`, `"plural": "crontabs"`, `"plural": "rivals"`).Replace(definition)), rival); err != nil {
		t.Fatal(err)
	}
	if _, err := crds.Create(ctx, rival, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("the rival is refused", func() bool {
		d, err := crds.Get(ctx, rival.Name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range d.Status.Conditions {
			if c.Type == apiextensionsv1.NamesAccepted && c.Status == apiextensionsv1.ConditionFalse {
				return strings.Contains(c.Message, "is already in use")
			}
		}
		return false
	})
	if _, err := f.v1.Create(ctx, cronTab("a", `{"cronSpec":"* *"}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := crds.Delete(ctx, "crontabs.stable.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("the definition is gone", func() bool {
		_, err := crds.Get(ctx, "crontabs.stable.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	f.until("the kind is served no more", func() bool {
		_, err := f.v1.List(ctx, metav1.ListOptions{})
		return apierrors.IsNotFound(err)
	})
}

// TestVersions: each version has its own schema, subresources and selectable fields; a deprecated one says so.
func TestVersions(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	d, err := crds.Get(ctx, "crontabs.stable.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one := 1.0
	d.Spec.Versions[1].Deprecated = true
	d.Spec.Versions[1].Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"replicas": {Type: "integer", Maximum: &one}, "cronSpec": {Type: "string"}}},
	}}
	if _, err := crds.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.v1.Create(ctx, cronTab("a", `{"cronSpec":"* *","color":"red","replicas":2}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("v2 does not show what its schema lacks", func() bool {
		got, err := f.v2.Get(ctx, "a", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, color, _ := unstructured.NestedString(got.Object, "spec", "color")
		return !color
	})
	other := cronTab("b", `{"cronSpec":"no spaces needed","replicas":2}`)
	other.SetAPIVersion("stable.example.com/v2")
	_, err = f.v2.Create(ctx, other, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.replicas in body should be less than or equal to 1") {
		t.Errorf("v2's own maximum: %v", err)
	}
	if err := unstructured.SetNestedField(other.Object, "x", "spec", "cronSpec"); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(other.Object, int64(1), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	if _, err = f.v2.Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Errorf("v1's pattern is not v2's: %v", err)
	}
	if _, err := f.v2.Get(ctx, "a", metav1.GetOptions{}, "status"); !apierrors.IsNotFound(err) {
		t.Errorf("v2 has no status subresource: %v", err)
	}
	_, err = f.v2.List(ctx, metav1.ListOptions{FieldSelector: "spec.color=red"})
	if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "field label not supported: spec.color") {
		t.Errorf("v2 is not selected by color: %v", err)
	}
	r, err := http.NewRequest(http.MethodGet, f.s.URL+"/apis/stable.example.com/v2/crontabs", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+servertest.AdminToken)
	res, err := f.s.HTTPClient().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, want := res.Header.Get("Warning"), `299 - "stable.example.com/v2 CronTab is deprecated"`; got != want {
		t.Errorf("warning %q, want %q", got, want)
	}
}

// TestRatcheting: what was wrong before may stay as it is, by schema and by rule.
func TestRatcheting(t *testing.T) {
	f := setUp(t)
	ctx := context.Background()
	if _, err := f.v1.Create(ctx, cronTab("a", `{"cronSpec":"* *","replicas":9}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	d, err := crds.Get(ctx, "crontabs.stable.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	cron, replicas := spec.Properties["cronSpec"], spec.Properties["replicas"]
	cron.Pattern = "^never$"
	replicas.XValidations = apiextensionsv1.ValidationRules{{Rule: "self < 5", Message: "at most four"}}
	spec.Properties["cronSpec"], spec.Properties["replicas"] = cron, replicas
	d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"] = spec
	if _, err := crds.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("the new schema holds", func() bool {
		_, err := f.v1.Create(ctx, cronTab("b", `{"cronSpec":"* *"}`), metav1.CreateOptions{DryRun: []string{"All"}})
		return apierrors.IsInvalid(err)
	})
	if _, err := f.v1.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"color":"red"}}`), metav1.PatchOptions{}); err != nil {
		t.Errorf("an unrelated change: %v", err)
	}
	_, err = f.v1.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":8}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.replicas: Invalid value: 8: at most four") {
		t.Errorf("a changed value that is still wrong: %v", err)
	}
}

func TestBadDefinition(t *testing.T) {
	f := setUp(t)
	bad := &apiextensionsv1.CustomResourceDefinition{}
	if err := json.Unmarshal([]byte(strings.Replace(definition, `"name": "crontabs.stable.example.com"`, `"name": "wrong"`, 1)), bad); err != nil {
		t.Fatal(err)
	}
	_, err := f.crds.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), bad, metav1.CreateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), `metadata.name: Invalid value: "wrong": must be spec.names.plural+"."+spec.group`) {
		t.Error(err)
	}
}

// TestConversionWebhook: a webhook renames a field between versions.
func TestConversionWebhook(t *testing.T) {
	var calls atomic.Int32
	var broken atomic.Bool
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "broken", http.StatusInternalServerError)
			return
		}
		var review apiextensionsv1.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		_, version, _ := strings.Cut(review.Request.DesiredAPIVersion, "/")
		from, to := "cronSpec", "when"
		if version == "v1" {
			from, to = to, from
		}
		replacer := strings.NewReplacer(`"`+from+`"`, `"`+to+`"`, "stable.example.com/v1", "stable.example.com/"+version, "stable.example.com/v2", "stable.example.com/"+version)
		review.Response = &apiextensionsv1.ConversionResponse{UID: review.Request.UID, Result: metav1.Status{Status: "Success"}}
		for _, o := range review.Request.Objects {
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, runtime.RawExtension{Raw: []byte(replacer.Replace(string(o.Raw)))})
		}
		calls.Add(1)
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	defer hook.Close()
	f := setUp(t)
	ctx := context.Background()
	crds := f.crds.ApiextensionsV1().CustomResourceDefinitions()
	d, err := crds.Get(ctx, "crontabs.stable.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw})
	when := map[string]apiextensionsv1.JSONSchemaProps{"when": {Type: "string"}}
	d.Spec.Versions[1].SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".spec.when"}}
	d.Spec.Versions[1].Subresources = &apiextensionsv1.CustomResourceSubresources{Scale: &apiextensionsv1.CustomResourceSubresourceScale{
		SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas"}}
	d.Spec.Versions[1].Schema.OpenAPIV3Schema.XPreserveUnknownFields = nil
	d.Spec.Versions[1].Schema.OpenAPIV3Schema.Properties = map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "object", Properties: when}}
	d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.WebhookConverter, Webhook: &apiextensionsv1.WebhookConversion{
		ClientConfig: &apiextensionsv1.WebhookClientConfig{URL: &hook.URL, CABundle: ca}, ConversionReviewVersions: []string{"v1"},
	}}
	if _, err := crds.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.v1.Create(ctx, cronTab("a", `{"cronSpec":"* *"}`), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f.until("v2 has the field by its other name", func() bool {
		got, err := f.v2.Get(ctx, "a", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		when, _, _ := unstructured.NestedString(got.Object, "spec", "when")
		return when == "* *" && got.GetUID() != ""
	})
	other := cronTab("b", `{"when":"1 1"}`)
	other.SetAPIVersion("stable.example.com/v2")
	if _, err := f.v2.Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := f.v1.Get(ctx, "b", metav1.GetOptions{})
	if spec, _, _ := unstructured.NestedString(got.Object, "spec", "cronSpec"); err != nil || spec != "1 1" {
		t.Errorf("v1 of b: %v %v", err, got)
	}
	if list, err := f.v2.List(ctx, metav1.ListOptions{FieldSelector: "spec.when=1 1"}); err != nil || len(list.Items) != 1 || list.Items[0].GetName() != "b" {
		t.Errorf("by a field of v2: %v %v", err, list)
	}
	before := calls.Load()
	if list, err := f.v2.List(ctx, metav1.ListOptions{}); err != nil || calls.Load() != before+1 || len(list.Items) != 2 || list.Items[1].GetAPIVersion() != "stable.example.com/v2" {
		t.Errorf("list: %v %v", err, list)
	}
	broken.Store(true)
	for what, do := range map[string]func() error{
		"get":    func() error { _, err := f.v2.Get(ctx, "a", metav1.GetOptions{}); return err },
		"delete": func() error { return f.v2.Delete(ctx, "a", metav1.DeleteOptions{}) },
		"scale":  func() error { _, err := f.v2.Get(ctx, "a", metav1.GetOptions{}, "scale"); return err },
		"rescale": func() error {
			_, err := f.v2.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":2}}`), metav1.PatchOptions{}, "scale")
			return err
		},
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "conversion webhook for stable.example.com/v1, Kind=CronTab failed") {
			t.Errorf("%s while the webhook is broken: %v", what, err)
		}
	}
	if err := f.v1.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Errorf("delete where nothing is converted: %v", err)
	}
}
