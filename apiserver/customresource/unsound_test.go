package customresource

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"clipper/api"
	"clipper/catalogue"
)

// TestUnsoundSchema: definitions that come from v1beta1 may have schemas that say nothing sensible. Their objects are
// served and applied all the same, as objects of any content.
func TestUnsoundSchema(t *testing.T) {
	for name, schema := range map[string]string{
		"array without items": `{"properties":{"list":{"type":"array"}}}`,
		"two kinds of items":  `{"properties":{"list":{"type":"array","items":[{"type":"string"},{"type":"integer"}]}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			r, err := describe(t.Context(), widgets(func(d *apiextensionsv1.CustomResourceDefinition) {
				d.Spec.PreserveUnknownFields = true
				d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Served: true, Storage: true, Schema: parseSchema(t, schema)}}
				d.Status.AcceptedNames = d.Spec.Names
			}), newConverters(nil, nil), newWarmth())
			if err != nil {
				t.Fatal(err)
			}
			o := parseObject(t, `{"apiVersion":"`+r.GVK().GroupVersion().String()+`","kind":"`+r.Kind+`","metadata":{"name":"a"},"list":[1,"a"],"other":{"x":1}}`)
			if _, err := r.Types.ObjectToTyped(o); err != nil {
				t.Errorf("apply: %v", err)
			}
			if _, err := r.Custom.Schema(catalogue.OpenAPI3); err != nil {
				t.Errorf("OpenAPI: %v", err)
			}
			if _, err := r.Custom.Read([]api.Object{o}); err != nil {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// TestPathsOutOfSchemas: paths through what is no schema, or has no end, are refused; upstream's validation panics.
func TestPathsOutOfSchemas(t *testing.T) {
	for name, schema := range map[string]string{
		"no structure": `{"type":"object","properties":{"a":{"type":"array","items":[{"type":"string"},{"type":"integer"}]}}}`,
		"anything":     `{"type":"object","additionalProperties":true}`,
	} {
		t.Run(name, func(t *testing.T) {
			d := widgets(func(d *apiextensionsv1.CustomResourceDefinition) {
				d.Spec.Scope = apiextensionsv1.NamespaceScoped
				d.Spec.Versions[0].Schema = parseSchema(t, schema)
				d.Spec.Versions[0].SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".a.b"}}
			})
			setDefaults(d)
			prepareCreate(d)
			if faults := validateCreate(d); len(faults) == 0 {
				t.Error("accepted")
			}
			if faults := validateUpdate(d, d); len(faults) == 0 {
				t.Error("accepted in an update")
			}
		})
	}
}
