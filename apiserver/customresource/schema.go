package customresource

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/s2"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"clipper/catalogue"
)

const metaModel = "io.k8s.apimachinery.pkg.apis.meta.v1."

// model is the name of a version's schema: the group backwards, the version, the kind.
func (v *version) model() string {
	parts := strings.Split(v.gvk.Group, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + v.gvk.Version + "." + v.gvk.Kind
}

// A dialect is what the two versions of OpenAPI write differently.
type dialect struct {
	refs string
	v2   bool
}

var (
	dialectV2 = dialect{"#/definitions/", true}
	dialectV3 = dialect{"#/components/schemas/", false}
	// mergeDialect is version 3 with version 2's references: server-side apply sorts by models of both kinds.
	mergeDialect = dialect{"#/definitions/", false}
)

// metadata refers to ObjectMeta. In version 3 a reference has no siblings, so that a description needs allOf.
func (d dialect) metadata() spec.Schema {
	ref := spec.RefSchema(d.refs + metaModel + "ObjectMeta")
	if d.v2 {
		return *ref.WithDescription(metadataDoc)
	}
	return spec.Schema{SchemaProps: spec.SchemaProps{Description: metadataDoc, AllOf: []spec.Schema{*ref}}}
}

// keep returns what make made under a name. It stays while it is used, for the document of version 2 is made anew whenever a
// kind comes or goes, of all of them; it stays packed, for they are many.
func (v *version) keep(name string, make func() ([]byte, error)) ([]byte, error) {
	kept, _ := v.kept.LoadOrStore(name, newWarm[packedText](v.of.among, nil))
	return kept.(*warm[packedText]).or(func() packedText {
		data, err := make()
		if err != nil {
			return packedText{err: err}
		}
		return packedText{packed: bytes.Clone(s2.Encode(nil, data))}
	}).open()
}

// A packedText is a text, packed, or why there is none.
type packedText struct {
	packed []byte
	err    error
}

func (t packedText) open() ([]byte, error) {
	if t.err != nil {
		return nil, t.err
	}
	return s2.Decode(nil, t.packed)
}

// openAPI returns v's schema as it is in the documents of a version of OpenAPI.
func (v *version) openAPI(of catalogue.OpenAPI) (out catalogue.Schema, err error) {
	d := dialectV3
	if of == catalogue.OpenAPI2 {
		d = dialectV2
	}
	made, err := v.structure()
	if err != nil {
		return out, err
	}
	out.Model = v.model()
	out.Text, err = v.published(made.sound.Unfold(), d).MarshalJSON() // json.Marshal would read it again
	if err != nil {
		return out, fmt.Errorf("schema of %s: %w", v.gvk, err)
	}
	if fields := v.selectable(); fields != nil {
		out.Selectable, err = json.Marshal(fields)
	}
	return out, err
}

// published is what clients are told of s.
func (v *version) published(s *structuralschema.Structural, d dialect) *spec.Schema {
	// Clients of version 2 refuse fields that are not listed: where anything goes, nothing is.
	if v.preserve || d.v2 && (s == nil || s.XPreserveUnknownFields) {
		root := &spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}}}
		v.nameKind(root)
		return root
	}
	if d.v2 {
		s = openapiv2.ToStructuralOpenAPIV2(s)
	}
	root := rootSchema(s)
	v.complete(root, d.metadata())
	embedAll(root, d)
	if d.v2 {
		return handler.PruneDefaultsSchema(root)
	}
	return root
}

// embedAll does so for every property of s.
func embedAll(s *spec.Schema, d dialect) {
	for name, p := range s.Properties {
		embed(&p, d)
		s.Properties[name] = p
	}
}

// embed gives embedded objects the fields that every object has.
func embed(s *spec.Schema, d dialect) {
	if s == nil {
		return
	}
	embedAll(s, d)
	if s.Items != nil {
		embed(s.Items.Schema, d)
	}
	if s.AdditionalProperties != nil {
		embed(s.AdditionalProperties.Schema, d)
	}
	if open, _ := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields"); open && d.v2 {
		return
	}
	if embedded, _ := s.Extensions.GetBool("x-kubernetes-embedded-resource"); !embedded {
		return
	}
	s.SetProperty("apiVersion", *spec.StringProperty().WithDescription(embeddedVersionDoc))
	s.SetProperty("kind", *spec.StringProperty().WithDescription(embeddedKindDoc))
	s.SetProperty("metadata", d.metadata())
	for _, name := range []string{"kind", "apiVersion"} {
		if !slices.Contains(s.Required, name) {
			s.Required = append(s.Required, name)
		}
	}
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

	embeddedVersionDoc = "apiVersion defines the versioned schema of this representation of an object. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources"
	embeddedKindDoc    = "kind is a string value representing the type of this object. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds"

	metadataDoc = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)

// complete gives a schema the fields that every kind has, and the name of its kind.
func (v *version) complete(s *spec.Schema, metadata spec.Schema) {
	if s.Properties == nil {
		s.Properties = map[string]spec.Schema{}
	}
	s.Properties["apiVersion"] = *spec.StringProperty().WithDescription(apiVersionDoc)
	s.Properties["kind"] = *spec.StringProperty().WithDescription(kindDoc)
	s.Properties["metadata"] = metadata
	v.nameKind(s)
}

// nameKind says which kind a schema is of, and what its objects can be selected by.
func (v *version) nameKind(s *spec.Schema) {
	s.AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": v.gvk.Group, "version": v.gvk.Version, "kind": v.gvk.Kind},
	})
	if fields := v.selectable(); fields != nil {
		s.AddExtension("x-kubernetes-selectable-fields", fields)
	}
}

// selectable lists the fields that objects can be selected by, beside those of every kind; nil if there are none.
func (v *version) selectable() []any {
	var out []any
	for _, f := range v.spec.SelectableFields {
		out = append(out, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
	}
	return out
}

// mergeTypes knows how server-side apply merges each version of a definition; warm.
type mergeTypes func() merging

type merging struct {
	managedfields.TypeConverter
	err error
}

func newMergeTypes(d *definition) mergeTypes {
	return newWarm(d.among, func() (out merging) {
		models := map[string]*spec.Schema{metaModel + "ObjectMeta": metadataSchema()}
		for _, v := range d.versions {
			made, err := v.structure()
			if err != nil {
				return merging{err: err}
			}
			s := rootSchema(made.sound)
			v.complete(s, mergeDialect.metadata())
			embedAll(s, mergeDialect)
			models[v.model()] = s
		}
		out.TypeConverter, out.err = managedfields.NewTypeConverter(models, d.Spec.PreserveUnknownFields)
		return out
	}).get
}

// ObjectToTyped implements managedfields.TypeConverter.
func (t mergeTypes) ObjectToTyped(o runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	c := t()
	if c.err != nil {
		return nil, c.err
	}
	return c.ObjectToTyped(o, options...)
}

// TypedToObject implements managedfields.TypeConverter.
func (t mergeTypes) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	c := t()
	if c.err != nil {
		return nil, c.err
	}
	return c.TypedToObject(v)
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
