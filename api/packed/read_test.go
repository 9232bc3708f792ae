package packed

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"clipper/api/jsonscan"
)

// everything has each field of a schema that is read without the library.
const everything = `{"id":"i","$schema":"s","$ref":"r","description":"d \"é\" \u003c","type":"object","format":"f","title":"t","default":{"a":[1,"]}",null]},"maximum":1.5e3,
	"exclusiveMaximum":true,"minimum":-0,"exclusiveMinimum":false,"maxLength":3,"minLength":-1,"pattern":"^\\d$","maxItems":4,"minItems":5,"uniqueItems":true,"multipleOf":0.1,
	"enum":["a",1,null,{"b":{}},[ ] , true],"maxProperties":6,"minProperties":7,"required":["a","b"],"items":{"type":"string"},"allOf":[{"type":"a"},{}],"oneOf":[],"anyOf":[{"not":{"type":"x"}}],
	"not":{"items":[{"type":"string"},{}]},"properties":{"a":{"properties":{}},"é":{"nullable":true}},"additionalProperties":{"type":"integer"},"patternProperties":{"^a":{"additionalProperties":false}},
	"additionalItems":true,"externalDocs":{"description":"d","url":"u"},"example":"x","nullable":true,"x-kubernetes-preserve-unknown-fields":true,"x-kubernetes-embedded-resource":true,
	"x-kubernetes-int-or-string":true,"x-kubernetes-list-map-keys":["k"],"x-kubernetes-list-type":"map","x-kubernetes-map-type":"atomic",
	"x-kubernetes-validations":[{"rule":"r","message":"m","messageExpression":"e","reason":"FieldValueInvalid","fieldPath":".a","optionalOldSelf":true},{}]}`

// same says whether read does what the library does.
func same(t *testing.T, text string) {
	t.Helper()
	want := &apiextensionsv1.JSONSchemaProps{}
	fault := json.Unmarshal([]byte(text), want)
	got, err := read([]byte(text))
	if (err == nil) != (fault == nil) || err == nil && !reflect.DeepEqual(got, want) {
		t.Errorf("%q: %+v, %v\nwant %+v, %v", text, got, err, want, fault)
	}
	if json.Valid([]byte(text)) && IsSchema([]byte(text)) != (fault == nil) {
		t.Errorf("%q: taken for a schema: %v, want %v", text, fault != nil, fault)
	}
}

func usual(text string) bool {
	r := reader{Reader: jsonscan.New(text)}
	r.schema(&apiextensionsv1.JSONSchemaProps{})
	return r.Ended()
}

func TestReadIsTheLibrarys(t *testing.T) {
	same(t, everything)
	if !usual(everything) {
		t.Error("it is left to the library")
	}
	unread := map[string]bool{"dependencies": true, "definitions": true}
	kind := reflect.TypeFor[apiextensionsv1.JSONSchemaProps]()
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		if strings.Contains(everything, `"`+name+`":`) == unread[name] {
			t.Errorf("a field that nobody has thought of: %s", name)
		}
	}
	for _, text := range odd {
		same(t, text)
		if usual(text) {
			t.Errorf("%s is not left to the library", text)
		}
	}
}

// odd texts mean something else than they seem to, or nothing.
var odd = []string{
	``, `null`, `[]`, `{`, `{}}`, `{"type":"a",}`, `{,}`, `{"type":"a" "format":"b"}`, `{"Type":"a"}`, `{"unknown":1}`, `{"type":null}`, `{"type":1}`, `{"type":"a`, `{"type":"\`, `{"type":"\x"}`,
	"{\"type\":\"a\nb\"}", "{\"type\":\"\xff\"}", `{"maximum":01}`, `{"maximum":.5}`, `{"maximum":1e999}`, `{"maximum":Inf}`, `{"maximum":0x1}`, `{"maximum":"1"}`, `{"maxLength":1.0}`, `{"maxLength":1e2}`,
	`{"maxLength":99999999999999999999}`, `{"nullable":1}`, `{"nullable":tru}`, `{"enum":[}`, `{"enum":[1,]}`, `{"default":[1,,2]}`, `{"default":}`, `{"required":[null]}`, `{"required":null}`, `{"items":null}`, `{"items":1}`,
	`{"properties":{"a":null}}`, `{"properties":{"a":{"type":"x"}},"properties":{"b":{}}}`, `{"allOf":[{"type":"a"}],"allOf":[{"format":"b"}]}`, `{"not":{"type":"a"},"not":{"format":"b"}}`,
	`{"items":{"Type":"a"}}`, `{"additionalProperties":null}`, `{"additionalProperties":"true"}`, `{"x-kubernetes-validations":[{"Rule":"a"}]}`, `{"x-kubernetes-validations":[{"reason":null}]}`,
	`{"dependencies":{"a":["b"]}}`, `{"definitions":{"a":{}}}`, `{"externalDocs":{"url":"a"},"externalDocs":{"description":"b"}}`,
	strings.Repeat(`{"not":`, deepest+1) + "{}" + strings.Repeat("}", deepest+1),
}

// FuzzRead: of any text the same is read as the library reads.
func FuzzRead(f *testing.F) {
	f.Add(everything)
	for _, text := range odd {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { same(t, text) })
}

// BenchmarkOpen shows what it takes to open a packed definition.
func BenchmarkOpen(b *testing.B) {
	p := Pack(definition(200))
	b.ReportAllocs()
	for b.Loop() {
		Open(p)
	}
}

// BenchmarkIsSchema shows what a look at a stored definition costs at the start.
func BenchmarkIsSchema(b *testing.B) {
	text, err := json.Marshal(definition(200).Spec.Versions[0].Schema.OpenAPIV3Schema)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !IsSchema(text) {
			b.Fatal("it is one")
		}
	}
}
