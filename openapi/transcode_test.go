package openapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// ofLibrary is what the library makes of an entry.
func ofLibrary(e entry) ([]byte, error) {
	p, err := part{e}.inProtobuf()
	if err != nil || len(p) != 1 {
		return nil, err
	}
	return p[0].text, nil
}

// TestTranscodeIsTheLibrarys: every path and every definition of the server's own becomes what the library makes of it, and
// none is left to it.
func TestTranscodeIsTheLibrarys(t *testing.T) {
	v := newV2Writer(newEdition(1, testResources(), func() []Extension { return nil }), &ownPart{})
	data, err := v.makeOwn(mediaJSON, nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := decodePart(data)
	if err != nil {
		t.Fatal(err)
	}
	all, err := v.schemas()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range all {
		own = append(own, entry{inDefinitions, name, text})
	}
	done := 0
	for _, e := range own {
		if e.section != inPaths && e.section != inDefinitions {
			continue
		}
		want, err := ofLibrary(e)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := v.forms().transcode(e); !ok || !bytes.Equal(got, want) {
			t.Errorf("%s: in the usual way: %v; %q, want %q", e.name, ok, got, want)
		}
		done++
	}
	if done < 500 {
		t.Errorf("there are but %d", done)
	}
}

// TestTranscodeLeavesToTheLibrary what it does not know, or what is not so in every document.
func TestTranscodeLeavesToTheLibrary(t *testing.T) {
	operation := func(text string) string { return `{"get":{"responses":{"200":{"description":"OK"}},` + text + `}}` }
	for _, e := range []entry{
		{inDefinitions, "a", nil}, {inDefinitions, "a", []byte(`[]`)}, {inDefinitions, "a", []byte(`{"nullable":true}`)}, {inDefinitions, "a", []byte(`{"type":"a","type":"b"}`)},
		{inDefinitions, "a", []byte(`{"description":1}`)}, {inDefinitions, "a", []byte(`{"maxLength":1.5}`)}, {inDefinitions, "a", []byte(`{"maximum":1e400}`)}, {inDefinitions, "a", []byte(`{"items":[{}]}`)},
		{inDefinitions, "a", []byte(`{"externalDocs":{"url":"u"}}`)}, {inDefinitions, "a", []byte(`{"required":[1]}`)}, {inDefinitions, "a", []byte(`{"a":`)}, {inDefinitions, "a", []byte(`{} {}`)},
		{inDefinitions, "a", []byte(strings.Repeat(`{"items":`, deepest) + "{}" + strings.Repeat("}", deepest))},
		{inPaths, "/a", []byte(`{"get":{}}`)}, {inPaths, "/a", []byte(operation(`"schemes":["a"]`))}, {inPaths, "/a", []byte(operation(`"parameters":[{"in":"header","name":"a","type":"string"}]`))},
		{inPaths, "/a", []byte(operation(`"parameters":[{"in":"query","name":"a","type":"file"}]`))}, {inPaths, "/a", []byte(operation(`"parameters":[{"in":"body","name":"a"}]`))},
		{inPaths, "/a", []byte(`{"get":{"responses":{"2xx":{"description":"OK"}}}}`)}, {inPaths, "/a", []byte(`{"get":{"responses":{"200":{"description":"OK","schema":{"type":"file"}}}}}`)},
	} {
		if got, ok := newForms().transcode(e); ok {
			t.Errorf("%s became %q", e.text, got)
		}
	}
}

// FuzzTranscode: what is written in the usual way becomes what the library makes of it.
func FuzzTranscode(f *testing.F) {
	for _, text := range []string{
		`{"type":"object","description":"a: b\n\"c\" <é> 😀","properties":{"z":{"type":["string","null"]},"a":{"items":{"$ref":"#/definitions/A"},"type":"array"}},"additionalProperties":{"maximum":-0,"minimum":1.5e3}}`,
		`{"x-b":{"a":[1,"yes",null,"2020-01-01"]},"x-a":true,"required":["a",""],"enum":[1,2.5,"~",{}],"default":"0x1","example":" x","additionalProperties":false,"allOf":[{},{"readOnly":true}]}`,
		`{"title":"t","format":"f","multipleOf":0.1,"exclusiveMaximum":true,"exclusiveMinimum":false,"maxLength":3,"minLength":-1,"pattern":"^\\d$","maxItems":4,"minItems":0,"uniqueItems":true,"maxProperties":6,"minProperties":7,"discriminator":"d"}`,
	} {
		f.Add(false, text)
	}
	f.Add(true, `{"get":{"operationId":"a","schemes":["https"],"tags":["t"],"consumes":["*/*"],"responses":{"401":{"description":"U"},"200":{"description":"","schema":{"$ref":"#/definitions/A"}}},"x-kubernetes-action":"list"},`+
		`"parameters":[{"$ref":"#/parameters/a"},{"name":"n","in":"path","required":true,"type":"string"},{"name":"q","in":"query","type":"integer","uniqueItems":true},{"in":"body","name":"body","schema":{}}]}`)
	forms := newForms()
	f.Fuzz(func(t *testing.T, path bool, text string) {
		e := entry{inDefinitions, "a", []byte(text)}
		if path {
			e.section, e.name = inPaths, "/a"
		}
		forms.texts.Clear()
		got, ok := forms.transcode(e)
		if !ok {
			return
		}
		if !json.Valid(e.text) {
			t.Fatalf("%q is no JSON", text)
		}
		if want, err := ofLibrary(e); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q became %q, want %q, %v", text, got, want, err)
		}
	})
}
