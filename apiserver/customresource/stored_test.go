package customresource

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"clipper/api"
	"clipper/catalogue"
)

// gadgetSchemas are those of v1beta1, which is stored, and v1.
const (
	gadgetV1beta1 = `{"type":"object","properties":{
		"spec":{"type":"object","properties":{
			"both":{"type":"string","default":"both"},"beta":{"type":"string","default":"beta"},"ga":{"type":"string"},
			"inner":{"type":"object","properties":{"a":{"type":"string"}}}}},
		"template":{"type":"object","x-kubernetes-embedded-resource":true,
			"default":{"apiVersion":"v1","kind":"T","metadata":{"name":"t","unknown":"x"}}}}}`
	gadgetV1 = `{"type":"object","properties":{
		"spec":{"type":"object","properties":{
			"both":{"type":"string","default":"both"},"beta":{"type":"string"},"ga":{"type":"string","default":"ga"}}},
		"template":{"type":"object","x-kubernetes-embedded-resource":true}}}`
)

// gadgets describes a kind of two versions, and returns what v1beta1 and v1 say of it.
func gadgets(t *testing.T, change func(*apiextensionsv1.CustomResourceDefinition)) (stored, other *catalogue.Resource) {
	t.Helper()
	d := widgets(func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1beta1", Served: true, Storage: true, Schema: parseSchema(t, gadgetV1beta1)},
			{Name: "v1", Served: true, Schema: parseSchema(t, gadgetV1)},
		}
		d.Status.AcceptedNames = d.Spec.Names
		if change != nil {
			change(d)
		}
	})
	r, err := describe(t.Context(), d, newConverters(nil, nil), newWarmth())
	if err != nil {
		t.Fatal(err)
	}
	return r, r.Also[0].Resource
}

func parseSchema(t *testing.T, text string) *apiextensionsv1.CustomResourceValidation {
	t.Helper()
	out := &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{}}
	if err := json.Unmarshal([]byte(text), out.OpenAPIV3Schema); err != nil {
		t.Fatal(err)
	}
	return out
}

func parseObject(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestRead: what is stored is shown with the defaults of the version that it is stored in, and without what the
// version that is asked for does not know.
func TestRead(t *testing.T) {
	inBeta, inV1 := gadgets(t, nil)
	const head = `{"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"name":"w","generation":1},`
	const template = `"template":{"apiVersion":"v1","kind":"T","metadata":{"name":"t"}}`
	for name, tt := range map[string]struct {
		as           *catalogue.Resource
		stored, want string
	}{
		"defaults of the stored version, in it":            {inBeta, head + `"spec":{}}`, head + `"spec":{"both":"both","beta":"beta"},` + template + `}`},
		"defaults of the stored version alone, in another": {inV1, head + `"spec":{}}`, strings.Replace(head, "v1beta1", "v1", 1) + `"spec":{"both":"both","beta":"beta"},` + template + `}`},
		"fields that the other version does not know":      {inV1, head + `"spec":{"inner":{"a":"1"}}}`, strings.Replace(head, "v1beta1", "v1", 1) + `"spec":{"both":"both","beta":"beta"},` + template + `}`},
		"metadata of the wrong type, and without generation": {inBeta, `{"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"name":"w","generation":null,"unknown":42,"annotations":{"a":1},"labels":{"b":"x y"}},"template":{"apiVersion":"v1","kind":"T","metadata":{"name":"t","labels":{"c":1}}}}`,
			`{"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"name":"w","generation":1,"labels":{"b":"x y"}},` + template + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			stored, want := parseObject(t, tt.stored), parseObject(t, tt.want)
			before := stored.DeepCopy()
			got, err := tt.as.Custom.Read([]api.Object{stored})
			if err != nil {
				t.Fatal(err)
			}
			if a, b := text(t, got[0]), text(t, want); a != b {
				t.Errorf("shown as\n%s, not as\n%s", a, b)
			}
			if !reflect.DeepEqual(stored, before) {
				t.Error("what is stored was changed")
			}
		})
	}
}

func text(t *testing.T, o api.Object) string {
	t.Helper()
	data, err := json.Marshal(content(o))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestDefaultsOfAnotherVersion: a write in v1 stores v1's defaults, not those of the version it is stored in.
func TestDefaultsOfAnotherVersion(t *testing.T) {
	inBeta, inV1 := gadgets(t, nil)
	written := parseObject(t, `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{}}`)
	inBeta.Also[0].Default(written)
	hub, err := inBeta.Also[0].ToHub(written)
	if err != nil {
		t.Fatal(err)
	}
	inV1.Canonicalize(hub)
	want := parseObject(t, `{"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"name":"w"},"spec":{"both":"both","ga":"ga"}}`)
	if a, b := text(t, hub), text(t, want); a != b {
		t.Errorf("stored is\n%s, not\n%s", a, b)
	}
}

// TestNullIsNoObject: a null that an apply has made is refused where the schema does not allow one.
func TestNullIsNoObject(t *testing.T) {
	r, _ := gadgets(t, nil)
	o := parseObject(t, `{"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"name":"w"},"spec":{"inner":null}}`)
	r.Default(o)
	if faults := r.ValidateCreate(o).ToAggregate(); faults == nil || !strings.Contains(faults.Error(), "must be of type object") {
		t.Errorf("null for an object: %v", faults)
	}
}

// TestReplicasPaths: every version's owners of the replicas are found where that version has them.
func TestReplicasPaths(t *testing.T) {
	_, inV1 := gadgets(t, func(d *apiextensionsv1.CustomResourceDefinition) {
		for i, path := range []string{".spec.replicas[0]", ".spec.replicas"} {
			d.Spec.Versions[i].Subresources = &apiextensionsv1.CustomResourceSubresources{
				Scale: &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: path, StatusReplicasPath: ".status.replicas"}}
		}
	})
	want := map[string][]any{"v1beta1": {"spec", "replicas[0]"}, "v1": {"spec", "replicas"}}
	if got := inV1.Scale.Paths; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, not %v", got, want)
	}
}

// TestSelectableFieldsArePublished: the schema says what objects can be selected by.
func TestSelectableFieldsArePublished(t *testing.T) {
	r, _ := gadgets(t, func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Versions[0].SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".spec.both"}}
	})
	for _, version := range []catalogue.OpenAPI{catalogue.OpenAPI2, catalogue.OpenAPI3} {
		s, err := r.Custom.Schema(version)
		if err != nil {
			t.Fatal(err)
		}
		const want = `"x-kubernetes-selectable-fields":[{"fieldPath":"spec.both"}]`
		if !strings.Contains(string(s.Text), want) || string(s.Selectable) != `[{"fieldPath":"spec.both"}]` {
			t.Errorf("version %d: %s\nlist: %s", version, s.Text, s.Selectable)
		}
	}
}

// TestDefaultsArePublished: version 3 tells of defaults, version 2 of none, wherever they are, as upstream.
func TestDefaultsArePublished(t *testing.T) {
	r, _ := gadgets(t, func(d *apiextensionsv1.CustomResourceDefinition) {
		text := apiextensionsv1.JSONSchemaProps{Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"x"`)}}
		list := apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{
			Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"a": text}}}}
		props := d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
		props["text"], props["list"] = text, list
		props["map"] = apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{Allows: true, Schema: &list}}
	})
	for version, want := range map[catalogue.OpenAPI]int{catalogue.OpenAPI2: 0, catalogue.OpenAPI3: 3} {
		s, err := r.Custom.Schema(version)
		if n := strings.Count(string(s.Text), `"default":"x"`); err != nil || n != want {
			t.Errorf("version %d: %d defaults, want %d: %v\n%s", version, n, want, err, s.Text)
		}
	}
}

// TestAdditionalPropertiesByProtobuf: a client that writes protobuf can describe additional properties without
// allowing them; JSON cannot.
func TestAdditionalPropertiesByProtobuf(t *testing.T) {
	r, _ := gadgets(t, func(d *apiextensionsv1.CustomResourceDefinition) {
		text := apiextensionsv1.JSONSchemaProps{Type: "object", AdditionalProperties: &apiextensionsv1.JSONSchemaPropsOrBool{
			Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}}}
		d.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["content"] = text
		setDefaults(d)
	})
	o := parseObject(t, `{"apiVersion":"example.com/v1beta1","kind":"Widget","metadata":{"name":"w"},"content":{"a":"b"}}`)
	if faults := r.ValidateCreate(o); len(faults) > 0 {
		t.Error(faults.ToAggregate())
	}
}

// TestValidationChangesNothing: definitions are validated as they are, not as copies.
func TestValidationChangesNothing(t *testing.T) {
	change := func(d *apiextensionsv1.CustomResourceDefinition) {
		d.Spec.Scope = apiextensionsv1.NamespaceScoped
		d.Status.StoredVersions = []string{"v1beta1"}
		d.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{
			Name: "v1beta1", Served: true, Storage: true, Schema: parseSchema(t, gadgetV1beta1),
			Subresources:             &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
			AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Both", Type: "string", JSONPath: ".spec.both"}},
		}}
	}
	d := widgets(change)
	before := d.DeepCopy()
	next := d.DeepCopy()
	next.ResourceVersion = "2"
	validateCreate(d)
	validateUpdate(next, d)
	validateStatus(next, d)
	warnings(d, nil)
	if !reflect.DeepEqual(d, before) {
		t.Errorf("was\n%+v\nis\n%+v", before, d)
	}
}
