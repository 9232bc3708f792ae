package customresource

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api/packed"
	"clipper/catalogue"
	"clipper/openapi"
)

// burst describes many kinds, each with a schema of that many bytes, as generated from Go types with their comments.
func burst(b *testing.B, many, bytes int) []*catalogue.Resource {
	among := newWarmth()
	var out []*catalogue.Resource
	for i := range many {
		group, kind := fmt.Sprintf("g%d.example.com", i/10), fmt.Sprintf("Thing%d", i)
		d := &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: strings.ToLower(kind) + "s." + group, UID: types.UID(kind), Generation: 1},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: group, Scope: apiextensionsv1.NamespaceScoped,
				Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: strings.ToLower(kind) + "s", Singular: strings.ToLower(kind), Kind: kind, ListKind: kind + "List"},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
					Name: "v1", Served: true, Storage: true, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: generated(i, bytes)},
				}},
			},
		}
		d.Status.AcceptedNames = d.Spec.Names
		r, err := describe(b.Context(), packed.Pack(d).(*apiextensionsv1.CustomResourceDefinition), newConverters(nil, nil), among)
		if err != nil {
			b.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func generated(i, bytes int) *apiextensionsv1.JSONSchemaProps {
	groups := map[string]apiextensionsv1.JSONSchemaProps{}
	for g := range max(1, bytes/2400) {
		item := apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"field1"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		for n := range 10 {
			item.Properties[fmt.Sprintf("field%d", n)] = apiextensionsv1.JSONSchemaProps{
				Type: "string", Description: fmt.Sprintf("Field %d of group %d of kind %d %s", n, g, i, strings.Repeat("says what it is for, ", 7)),
			}
		}
		groups[fmt.Sprintf("group%d", g)] = apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	}
	return &apiextensionsv1.JSONSchemaProps{Type: "object", Description: "A thing", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {Type: "object", Properties: groups},
	}}
}

// BenchmarkPublish shows what the documents cost of many kinds: when one is first asked for, and when another kind came.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []struct{ many, bytes int }{{200, 29 << 10}, {1000, 10 << 10}} {
		for _, accept := range []string{"application/json", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"} {
			name := fmt.Sprintf("n=%d/%s", size.many, accept[len(accept)-4:])
			get := func(b *testing.B, d *openapi.Documents) {
				w := httptest.NewRecorder()
				r := httptest.NewRequest(http.MethodGet, "/openapi/v2", nil)
				r.Header.Set("Accept", accept)
				r.Header.Set("Accept-Encoding", "gzip")
				d.ServeHTTP(w, r)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
			}
			b.Run(name+"/first", func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					kinds := burst(b, size.many, size.bytes)
					d := openapi.New(func() []*catalogue.Resource { return kinds })
					b.StartTimer()
					get(b, d)
				}
			})
			b.Run(name+"/again", func(b *testing.B) {
				kinds := burst(b, size.many+1, size.bytes)
				n := 0
				d := openapi.New(func() []*catalogue.Resource { return kinds[:size.many+n%2] })
				get(b, d)
				for b.Loop() {
					n++
					d.Invalidate()
					get(b, d)
				}
			})
		}
	}
}
