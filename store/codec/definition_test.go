package codec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsinstall "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/api"
	"clipper/api/packed"
	"clipper/store"
)

// definitions know the kinds that this is about; the server's own packages add them to the scheme of all kinds.
func definitionScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{apiextensionsv1.AddToScheme, apiextensionsv1beta1.AddToScheme, apiregistrationv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func schemaOf(fields int) *apiextensionsv1.CustomResourceValidation {
	root := &apiextensionsv1.JSONSchemaProps{Type: "object", Description: `{"id":"schema 0"}`, Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
	for i := range fields {
		root.Properties[fmt.Sprint("f", i)] = apiextensionsv1.JSONSchemaProps{
			Type: "object", Description: strings.Repeat("<what> it is for ", i%9), Default: &apiextensionsv1.JSON{Raw: []byte(`{"id":"schema 0"}`)},
		}
	}
	return &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: root}
}

func definitionOf(schemas ...*apiextensionsv1.CustomResourceValidation) *apiextensionsv1.CustomResourceDefinition {
	names := apiextensionsv1.CustomResourceDefinitionNames{Plural: "foos", Singular: "foo", Kind: "Foo", ListKind: "FooList"}
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "foos.example.com", Annotations: map[string]string{"a": `{"id":"schema 0"}`}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped, Names: names,
			Conversion: &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter},
		},
		Status: apiextensionsv1.CustomResourceDefinitionStatus{AcceptedNames: names, StoredVersions: []string{"v1"}},
	}
	for i, s := range schemas {
		d.Spec.Versions = append(d.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: fmt.Sprint("v", i+1), Served: true, Storage: i == 0, Schema: s})
	}
	return d
}

// TestDefinitions: definitions are written as upstream's server writes them, whether they are packed or not, and read back
// as they were.
func TestDefinitions(t *testing.T) {
	scheme := runtime.NewScheme()
	apiextensionsinstall.Install(scheme)
	upstream := serializer.NewCodecFactory(scheme)
	storage := upstream.LegacyCodec(apiextensionsv1beta1.SchemeGroupVersion)
	c := New(definitionScheme(t))
	for name, d := range map[string]*apiextensionsv1.CustomResourceDefinition{
		"none":             definitionOf(nil),
		"small":            definitionOf(schemaOf(1)),
		"large":            definitionOf(schemaOf(60)),
		"same":             definitionOf(schemaOf(60), schemaOf(60), schemaOf(60)),
		"different":        definitionOf(schemaOf(60), schemaOf(61), schemaOf(60)),
		"small and large":  definitionOf(schemaOf(1), schemaOf(60), nil),
		"small and smalle": definitionOf(schemaOf(1), schemaOf(2)),
	} {
		hub := &apiextensions.CustomResourceDefinition{}
		if err := scheme.Convert(d.DeepCopy(), hub, nil); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var theirs bytes.Buffer
		if err := storage.Encode(hub, &theirs); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, obj := range []api.Object{d, packed.Pack(d)} {
			ours, err := c.Encode(store.Key{}, obj)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(ours, bytes.TrimSpace(theirs.Bytes())) {
				t.Errorf("%s: ours %s\n\nupstream's %s", name, ours, theirs.Bytes())
			}
		}
		back, err := c.Decode(store.Key{}, theirs.Bytes())
		if err != nil || !apiequality.Semantic.DeepEqual(back, packed.Pack(d)) {
			t.Errorf("%s: came back as %+v, %v", name, packed.Open(back), err)
		}
		again, err := c.Encode(store.Key{}, back)
		if err != nil || !bytes.Equal(again, bytes.TrimSpace(theirs.Bytes())) {
			t.Errorf("%s: read and written again: %s, %v", name, again, err)
		}
	}
}

// TestDefinitionsOfOld: earlier servers wrote definitions of v1 in protobuf.
func TestDefinitionsOfOld(t *testing.T) {
	d := definitionOf(schemaOf(60))
	scheme := definitionScheme(t)
	head, err := (&codec{scheme: scheme}).head(d)
	if err != nil {
		t.Fatal(err)
	}
	data, err := head.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	back, err := New(scheme).Decode(store.Key{}, data)
	if err != nil || !apiequality.Semantic.DeepEqual(back, packed.Pack(d)) {
		t.Errorf("came back as %+v, %v", packed.Open(back), err)
	}
}

// TestDefinitionsWithoutSchemas: what stands where a schema should, and is none, is refused, however large it is.
func TestDefinitionsWithoutSchemas(t *testing.T) {
	c := New(definitionScheme(t))
	for _, n := range []int{1, 60} {
		good, err := c.Encode(store.Key{}, definitionOf(schemaOf(n)))
		if err != nil {
			t.Fatal(err)
		}
		for old, spoilt := range map[string]string{`"openAPIV3Schema":{`: `"openAPIV3Schema":{"pattern":5,`, `"properties":{`: `"required":"all","properties":{`} {
			bad := bytes.Replace(good, []byte(old), []byte(spoilt), 1)
			if obj, err := c.Decode(store.Key{}, bad); !json.Valid(bad) || bytes.Equal(bad, good) || err == nil || !strings.Contains(err.Error(), "cannot unmarshal") {
				t.Errorf("%d fields, %s: %v, %v", n, spoilt, obj, err)
			}
		}
	}
}

// TestRegistrations: APIServices are written in JSON, as upstream's are.
func TestRegistrations(t *testing.T) {
	want := &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.example.com"},
		Spec:       apiregistrationv1.APIServiceSpec{Group: "example.com", Version: "v1", GroupPriorityMinimum: 1, VersionPriority: 2},
	}
	c := New(definitionScheme(t))
	data, err := c.Encode(store.Key{}, want)
	if err != nil || !bytes.HasPrefix(data, []byte(`{"kind":"APIService","apiVersion":"apiregistration.k8s.io/v1",`)) || !json.Valid(data) {
		t.Fatalf("%s %v", data, err)
	}
	back, err := c.Decode(store.Key{}, data)
	if err != nil || !apiequality.Semantic.DeepEqual(back, want) {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

func FuzzDefinition(f *testing.F) {
	c := New(definitionScheme(f))
	for _, d := range []*apiextensionsv1.CustomResourceDefinition{definitionOf(schemaOf(60), schemaOf(1)), definitionOf(schemaOf(2), nil)} {
		data, err := c.Encode(store.Key{}, d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, err := c.Decode(store.Key{}, data)
		if err != nil {
			return
		}
		again := func(obj api.Object) (api.Object, []byte) {
			t.Helper()
			data, err := c.Encode(store.Key{}, obj)
			if err != nil {
				t.Skip(err) // what is no JSON within a schema
			}
			back, err := c.Decode(store.Key{}, data)
			if err != nil {
				t.Fatalf("%q cannot be read again: %v", data, err)
			}
			return back, data
		}
		read, _ := again(obj) // with the defaults of what was left out
		back, first := again(read)
		if _, second := again(back); !bytes.Equal(first, second) {
			t.Fatalf("%q is written as %q the second time", first, second)
		}
	})
}
