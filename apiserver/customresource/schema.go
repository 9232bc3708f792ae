package customresource

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"clipper/catalogue"
)

const metaModel = "io.k8s.apimachinery.pkg.apis.meta.v1."

// model is the name of a version's schema: the group backwards, the version, the kind.
func (v *version) model() string {
	parts := strings.Split(v.gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + v.gvk.Version + "." + v.gvk.Kind
}

// schema encodes a version's schema for the OpenAPI documents.
func (v *version) schema() (catalogue.Schema, error) {
	out := catalogue.Schema{Model: v.model()}
	var err error
	if out.V3, err = v.encodeSchema(v.structural, "#/components/schemas/"); err != nil {
		return out, err
	}
	shown := openapiv2.ToStructuralOpenAPIV2(v.structural)
	if v.preserve {
		shown = nil // v2 clients cannot be told that anything goes
	}
	out.V2, err = v.encodeSchema(shown, "#/definitions/")
	return out, err
}

func (v *version) encodeSchema(s *structuralschema.Structural, refs string) ([]byte, error) {
	root := rootSchema(s)
	v.complete(root, refs+metaModel+"ObjectMeta")
	data, err := json.Marshal(root)
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", v.gvk, err)
	}
	return data, nil
}

func rootSchema(s *structuralschema.Structural) *spec.Schema {
	if s == nil {
		return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
	}
	return s.ToKubeOpenAPI()
}

// Descriptions of the fields that every kind has, as upstream publishes them.
const (
	apiVersionDoc = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
	kindDoc       = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"
	metadataDoc   = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)

// complete gives a schema the fields that every kind has, and the name of its kind.
func (v *version) complete(s *spec.Schema, metaRef string) {
	if s.Properties == nil {
		s.Properties = map[string]spec.Schema{}
	}
	s.Properties["apiVersion"] = *spec.StringProperty().WithDescription(apiVersionDoc)
	s.Properties["kind"] = *spec.StringProperty().WithDescription(kindDoc)
	s.Properties["metadata"] = *spec.RefSchema(metaRef).WithDescription(metadataDoc)
	s.AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": v.gvk.Group, "version": v.gvk.Version, "kind": v.gvk.Kind},
	})
}

// typeConverter knows how server-side apply merges each version.
func typeConverter(d *apiextensionsv1.CustomResourceDefinition, versions map[string]*version) (managedfields.TypeConverter, error) {
	models := map[string]*spec.Schema{metaModel + "ObjectMeta": metadataSchema()}
	for _, v := range versions {
		s := rootSchema(v.structural)
		v.complete(s, "#/definitions/"+metaModel+"ObjectMeta")
		models[v.model()] = s
	}
	return managedfields.NewTypeConverter(models, d.Spec.PreserveUnknownFields)
}

// metadataSchema is ObjectMeta as far as merging is concerned.
func metadataSchema() *spec.Schema {
	text := spec.StringProperty
	number := spec.Int64Property
	object := func() *spec.Schema { return &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}} }
	owners := spec.ArrayProperty(object())
	owners.Items.Schema.Properties = map[string]spec.Schema{
		"apiVersion": *text(), "kind": *text(), "name": *text(), "uid": *text(),
		"controller": *spec.BoolProperty(), "blockOwnerDeletion": *spec.BoolProperty(),
	}
	owners.Items.Schema.AddExtension("x-kubernetes-map-type", "atomic")
	owners.AddExtension("x-kubernetes-list-type", "map")
	owners.AddExtension("x-kubernetes-list-map-keys", []any{"uid"})
	finalizers := spec.ArrayProperty(text())
	finalizers.AddExtension("x-kubernetes-list-type", "set")
	entries := spec.ArrayProperty(object())
	entries.AddExtension("x-kubernetes-list-type", "atomic")
	out := object()
	out.Properties = map[string]spec.Schema{
		"name": *text(), "generateName": *text(), "namespace": *text(), "selfLink": *text(), "uid": *text(),
		"resourceVersion": *text(), "generation": *number(), "creationTimestamp": *text(), "deletionTimestamp": *text(),
		"deletionGracePeriodSeconds": *number(), "labels": *spec.MapProperty(text()), "annotations": *spec.MapProperty(text()),
		"ownerReferences": *owners, "finalizers": *finalizers, "managedFields": *entries,
	}
	return out
}
