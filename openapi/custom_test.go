package openapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
