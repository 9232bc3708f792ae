package packed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
)

func ptr[T any](v T) *T { return &v }

// definition has two versions of n fields and a small third one.
func definition(n int) *apiextensionsv1.CustomResourceDefinition {
	large := func() *apiextensionsv1.CustomResourceValidation {
		spec := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		for i := range n {
			spec.Properties[fmt.Sprint("field", i)] = apiextensionsv1.JSONSchemaProps{
				Type: "array", Description: fmt.Sprint(i, strings.Repeat(" what it is for", 12)), MaxItems: ptr(int64(i)),
				Default: &apiextensionsv1.JSON{Raw: []byte(`["a"]`)}, XListType: ptr("set"),
				Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{Type: "string"}},
			}
		}
		return &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
			Type: "object", Description: "<all>", XPreserveUnknownFields: ptr(false), Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": spec},
		}}
	}
	small := &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.example.com", Labels: map[string]string{"a": "b"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "example.com", Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1", Schema: large()}, {Name: "v2", Schema: large()}, {Name: "v3", Schema: small}, {Name: "v4"},
		}},
	}
}

func TestPackAndOpen(t *testing.T) {
	d := definition(50)
	before := d.DeepCopy()
	p := Pack(d).(*apiextensionsv1.CustomResourceDefinition)
	if !equality.Semantic.DeepEqual(d, before) {
		t.Error("packing changed its argument")
	}
	if got, _ := p.Marshal(); len(got)*4 > d.Size() {
		t.Errorf("packed to %d bytes of %d", len(got), d.Size())
	}
	if p.Name != d.Name || p.Labels["a"] != "b" || p.Spec.Group != d.Spec.Group {
		t.Errorf("packed: %v", p)
	}
	again := Pack(Open(p)).(*apiextensionsv1.CustomResourceDefinition)
	if !equality.Semantic.DeepEqual(again, p) || Pack(p) != api.Object(p) {
		t.Error("packing twice makes something else")
	}
	if got := Open(p); !equality.Semantic.DeepEqual(got, d) {
		t.Errorf("opened: %v", got)
	}
	want, _ := json.Marshal(d)
	if got, _ := json.Marshal(Open(p.DeepCopy())); !bytes.Equal(got, want) {
		t.Errorf("opened: %s", got)
	}
	if got, ok, err := JSON(p); !ok || err != nil || !bytes.Equal(got, want) {
		t.Errorf("as JSON: %v, %v, %s", ok, err, got)
	}
	if _, ok, _ := JSON(d); ok {
		t.Error("an open definition is taken for a packed one")
	}
	if !Is(p) || Is(d) || Is(&corev1.Pod{}) {
		t.Error("it is not told what is packed")
	}
	for i := range d.Spec.Versions {
		if of := d.Spec.Versions[i].Schema; of != nil {
			plain, _ := json.Marshal(of.OpenAPIV3Schema)
			if text, err := Text(p.Spec.Versions[i].Schema.OpenAPIV3Schema); err != nil || !bytes.Equal(text, plain) {
				t.Errorf("text of %s: %s, %v", d.Spec.Versions[i].Name, text, err)
			}
		}
		want := d.Spec.Versions[i].Schema
		if got := Schema(&p.Spec.Versions[i]); (want == nil) != (got == nil) || want != nil && !equality.Semantic.DeepEqual(got, want.OpenAPIV3Schema) {
			t.Errorf("schema of %s: %v", d.Spec.Versions[i].Name, got)
		}
	}
}

// TestOthersStay: neither other kinds nor small definitions are copied.
func TestOthersStay(t *testing.T) {
	for _, o := range []api.Object{&corev1.Pod{}, &apiextensionsv1.CustomResourceDefinition{}, definition(0)} {
		if Pack(o) != o || Open(o) != o {
			t.Errorf("%T was copied", o)
		}
	}
}

// BenchmarkPack shows what definitions take in memory, for each byte of their JSON form.
func BenchmarkPack(b *testing.B) {
	text, err := json.Marshal(definition(200))
	if err != nil {
		b.Fatal(err)
	}
	for _, form := range []struct {
		name string
		of   func(api.Object) api.Object
	}{{"open", Open}, {"packed", Pack}} {
		b.Run(form.name, func(b *testing.B) {
			var kept []api.Object
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				d := &apiextensionsv1.CustomResourceDefinition{}
				if err := json.Unmarshal(text, d); err != nil {
					b.Fatal(err)
				}
				kept = append(kept, form.of(d))
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(len(kept)*len(text)), "heap-B/B")
			runtime.KeepAlive(kept)
		})
	}
}

// FuzzOpen: what only looks packed, as a client may send it in protobuf, is left as it is.
func FuzzOpen(f *testing.F) {
	p := Pack(definition(50)).(*apiextensionsv1.CustomResourceDefinition)
	f.Add(p.Spec.Versions[0].Schema.OpenAPIV3Schema.Description)
	f.Add("\x8f\x80\x80\x80\x04") // says that it is a gigabyte
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		d := definition(0)
		d.Spec.Versions[0].Schema.OpenAPIV3Schema = &apiextensionsv1.JSONSchemaProps{ID: mark, Description: text}
		Open(d)
		if Schema(&d.Spec.Versions[0]) == nil {
			t.Error("a schema is gone")
		}
		_, _, _ = JSON(d)
	})
}
