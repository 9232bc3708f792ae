package legacy_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/apiserver/customresource"
	"clipper/catalogue"
	"clipper/catalogue/legacy"
	"clipper/store"
	"clipper/store/codec"
)

// TestDefinition: upstream's server stores definitions as JSON of v1beta1, today's too.
func TestDefinition(t *testing.T) {
	c := codec.NewUpgrading(scheme.Scheme, legacy.Upgrades([]*catalogue.Resource{customresource.Definition()}, corev1.IPv4Protocol))
	obj, err := c.Decode(store.Key{}, []byte(`{"apiVersion":"apiextensions.k8s.io/v1beta1","kind":"CustomResourceDefinition","metadata":{"name":"foos.example.com"},
		"spec":{"group":"example.com","version":"v1","names":{"plural":"foos","kind":"Foo"},"scope":"Namespaced",
			"validation":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"string"}}}}},
		"status":{"acceptedNames":{"plural":"foos","kind":"Foo"},"conditions":[],"storedVersions":["v1"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	d, ok := obj.(*apiextensionsv1.CustomResourceDefinition)
	if !ok {
		t.Fatalf("%T", obj)
	}
	switch v := d.Spec.Versions; {
	case len(v) != 1 || v[0].Name != "v1" || !v[0].Served || !v[0].Storage:
		t.Errorf("versions: %+v", v)
	case v[0].Schema == nil || v[0].Schema.OpenAPIV3Schema.Properties["a"].Type != "string":
		t.Errorf("schema: %+v", v[0].Schema)
	case !d.Spec.PreserveUnknownFields: // v1beta1's default
		t.Error("unknown fields are dropped")
	case d.Spec.Names.ListKind != "FooList" || d.Status.StoredVersions[0] != "v1":
		t.Errorf("names %+v, status %+v", d.Spec.Names, d.Status)
	}
}
