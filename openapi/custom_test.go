package openapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"clipper/api"
	"clipper/catalogue"
)

// namesake is a custom kind whose schema has the name of another one.
func namesake(group, version, kind, model string) *catalogue.Resource {
	return &catalogue.Resource{
		Resource: api.Resource{Group: group, Version: version, Name: strings.ToLower(kind) + "s", Kind: kind}, ListKind: kind + "List",
		Verbs: []string{"get", "list"},
		Custom: &catalogue.Custom{ID: "1", Schema: func(catalogue.OpenAPI) (catalogue.Schema, error) {
			return catalogue.Schema{Model: model, Text: []byte(`{"type":"object","description":"custom"}`)}, nil
		}, Keep: func(_ string, make func() ([]byte, error)) ([]byte, error) { return make() }},
	}
}

// TestNamesakes: the schemas of custom kinds give way to those of the server's own, as upstream's aggregator has it.
func TestNamesakes(t *testing.T) {
	const pod, meta = "io.k8s.api.core.v1.Pod", metaModel + "ObjectMeta"
	documents := New(func() []*catalogue.Resource {
		return append(testResources(), namesake("core.api.k8s.io", "v1", "Pod", pod), namesake("meta.apis.pkg.apimachinery.k8s.io", "v1", "ObjectMeta", meta),
			namesake("example.com", "v1", "Shirt", "com.example.v1.Shirt"))
	})
	read := func(path string, into any) {
		t.Helper()
		w := httptest.NewRecorder()
		documents.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	type described struct{ Description string }
	var v2 struct {
		Definitions map[string]described
		Paths       map[string]json.RawMessage
	}
	read("/openapi/v2", &v2)
	for model, custom := range map[string]bool{
		pod: false, meta: false, pod + "_v2": true, meta + "_v2": true, "com.example.v1.Shirt": true,
	} {
		if d := v2.Definitions[model]; d.Description == "" || (d.Description == "custom") != custom {
			t.Errorf("version 2: %s: %q", model, d.Description)
		}
	}
	if path := string(v2.Paths["/apis/core.api.k8s.io/v1/pods/{name}"]); !strings.Contains(path, `"#/definitions/`+pod+`_v2"`) {
		t.Errorf("version 2: %s", path)
	}
	if path := string(v2.Paths["/api/v1/namespaces/{namespace}/pods/{name}"]); !strings.Contains(path, `"#/definitions/`+pod+`"`) {
		t.Errorf("version 2: %s", path)
	}
	for path, custom := range map[string]string{"core.api.k8s.io": pod, "example.com": "com.example.v1.Shirt"} {
		var v3 struct {
			Components struct{ Schemas map[string]described }
		}
		read("/openapi/v3/apis/"+path+"/v1", &v3)
		all := v3.Components.Schemas
		if all[custom].Description != "custom" || all[metaModel+"ListMeta"].Description == "" {
			t.Errorf("version 3 of %s: %v", path, all)
		}
	}
	var own struct {
		Components struct{ Schemas map[string]described }
	}
	read("/openapi/v3/api/v1", &own)
	if d := own.Components.Schemas[pod].Description; d == "" || d == "custom" {
		t.Errorf("version 3 of the server's own: %q", d)
	}
}

// TestCustomOperations: what upstream says of custom kinds in another way than of its own.
func TestCustomOperations(t *testing.T) {
	shirt := namesake("example.com", "v1", "Shirt", "com.example.v1.Shirt")
	shirt.Verbs = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	shirt.Status, shirt.Scale = &catalogue.Status{}, &catalogue.Scale{}
	documents := New(func() []*catalogue.Resource { return append(testResources(), shirt) })
	var v2 spec.Swagger
	var v3 spec3.OpenAPI
	for path, into := range map[string]any{"/openapi/v2": &v2, "/openapi/v3/apis/example.com/v1": &v3} {
		w := httptest.NewRecorder()
		documents.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	const shirts = "/apis/example.com/v1/shirts"
	all, one, scale := v2.Paths.Paths[shirts], v2.Paths.Paths[shirts+"/{name}"], v2.Paths.Paths[shirts+"/{name}/scale"]
	for what, got := range map[string]bool{
		"all are deleted without a body":          !strings.Contains(refsOf(all.Delete.Parameters), "body-") && strings.Contains(refsOf(all.Delete.Parameters), "watch-"),
		"one is deleted with a body":              strings.Contains(refsOf(one.Delete.Parameters), "body-"),
		"a read takes a resourceVersion":          strings.Contains(refsOf(one.Get.Parameters), "resourceVersion-"),
		"a patch makes nothing":                   one.Patch.Responses.StatusCodeResponses[201].Description == "" && one.Put.Responses.StatusCodeResponses[201].Description != "",
		"the scale is the kind's":                 strings.Contains(fmt.Sprint(scale.Get.Extensions["x-kubernetes-group-version-kind"]), "Shirt"),
		"a list's metadata are described":         strings.HasPrefix(v2.Definitions["com.example.v1.ShirtList"].Properties["metadata"].Description, "Standard list metadata."),
		"they are in version 3":                   len(v3.Components.Schemas["com.example.v1.ShirtList"].Properties["metadata"].AllOf) == 1,
		"version 3 is about custom kinds":         v3.Info.Title == "Kubernetes CRD Swagger" && v3.Info.Version == "v0.1.0" && v2.Info.Title == "Kubernetes",
		"version 3 does not tell who clients are": v3.Components.SecuritySchemes == nil,
		"options are those of all kinds but two":  kindsOf(v3.Components.Schemas[deleteModel]) > 40 && kindsOf(v3.Components.Schemas[deleteModel])+2 == kindsIn(t, packedV3, deleteModel),
	} {
		if !got {
			t.Errorf("it is not so that %s", what)
		}
	}
}

func kindsOf(s *spec.Schema) int {
	kinds, _ := s.Extensions["x-kubernetes-group-version-kind"].([]any)
	return len(kinds)
}

func kindsIn(t *testing.T, packed []byte, model string) int {
	t.Helper()
	var all schemas
	s := &spec.Schema{}
	if err := unpack(packed, &all); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(all[model], s); err != nil {
		t.Fatal(err)
	}
	return kindsOf(s)
}

func refsOf(parameters []spec.Parameter) (refs string) {
	for _, p := range parameters {
		refs += p.Ref.String() + " "
	}
	return refs
}
