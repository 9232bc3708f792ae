package customresource

import (
	"fmt"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	celconfig "k8s.io/apiserver/pkg/apis/cel"

	"clipper/api"
	"clipper/api/packed"
)

// A version is one version of a definition. Its schema stays packed; what is made of it is there while it is used: a
// cluster has hundreds of definitions, and few of them see an object every day.
type version struct {
	of       *definition
	name     string
	gvk      schema.GroupVersionKind
	listKind string
	spec     *apiextensionsv1.CustomResourceDefinitionVersion
	preserve bool                  // unknown fields are kept everywhere: definitions that come from v1beta1
	shape    func() *shape         // warm
	rules    func() *cel.Validator // nil if the schema has none; warm
	kept     sync.Map              // name → *warm[packedText]
}

// A structure is a schema as pruning and defaulting walk along it.
type structure struct {
	structural *structuralschema.Structural
	// sound is structural, or nil if that breaks the rules that definitions from v1beta1 need not keep: nothing can
	// be said of it then to clients, nor to server-side apply.
	sound *structuralschema.Structural
	props *apiextensions.JSONSchemaProps // what it was made of
}

// A shape is a schema, ready for use.
type shape struct {
	structural *structuralschema.Structural
	schemas    validation.SchemaValidator
	status     validation.SchemaValidator // of the status alone; nil if the schema has none
	err        error                      // why there is no shape: validation has let nothing in that has none
}

func newVersion(d *definition, spec *apiextensionsv1.CustomResourceDefinitionVersion) *version {
	v := &version{
		of:       d,
		name:     spec.Name,
		gvk:      schema.GroupVersionKind{Group: d.Spec.Group, Version: spec.Name, Kind: d.Status.AcceptedNames.Kind},
		listKind: d.Status.AcceptedNames.ListKind,
		spec:     spec,
		preserve: d.Spec.PreserveUnknownFields,
	}
	v.shape = newWarm(d.among, v.compile).get
	v.rules = newWarm(d.among, func() *cel.Validator {
		return cel.NewValidator(v.shape().structural, true, celconfig.PerCallLimit)
	}).get
	return v
}

func (v *version) compile() *shape {
	s := &shape{}
	made, err := v.structure()
	if err != nil {
		s.err = err
		return s
	}
	s.structural = made.structural
	if s.schemas, _, s.err = validation.NewSchemaValidator(made.props); s.err != nil {
		return s
	}
	if status, ok := made.props.Properties["status"]; ok {
		s.status, _, s.err = validation.NewSchemaValidator(&status)
	}
	return s
}

// structure opens v's schema. Nobody else has what it returns.
func (v *version) structure() (*structure, error) {
	schema := packed.Schema(v.spec)
	if schema != nil && v.spec.Schema.OpenAPIV3Schema == schema {
		schema = schema.DeepCopy() // it is too small to be packed, and the definition's own, which nobody may change
	}
	s, err := newStructure(schema, v.preserve)
	if err != nil {
		return nil, fmt.Errorf("definition %s, version %s: %w", v.of.Name, v.name, err)
	}
	return s, nil
}

func newStructure(schema *apiextensionsv1.JSONSchemaProps, preserve bool) (s *structure, err error) {
	s = &structure{props: &apiextensions.JSONSchemaProps{}}
	if schema != nil {
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(schema, s.props, nil); err != nil {
			return nil, err
		}
	}
	s.structural, err = structuralschema.NewStructural(s.props)
	switch {
	case err != nil && preserve:
		s.structural, err = structuralschema.NewStructural(&apiextensions.JSONSchemaProps{Type: "object"})
	case preserve && len(structuralschema.ValidateStructural(nil, s.structural)) == 0:
		s.sound = s.structural
	}
	if err != nil || preserve {
		return s, err
	}
	s.sound = s.structural
	return s, defaulting.PruneDefaults(s.structural)
}

func (v *version) hasStatus() bool {
	return v.spec.Subresources != nil && v.spec.Subresources.Status != nil
}

func (v *version) empty() api.Object {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(v.gvk)
	return u
}

func (v *version) emptyList() runtime.Object {
	u := &unstructured.UnstructuredList{}
	u.SetGroupVersionKind(v.gvk.GroupVersion().WithKind(v.listKind))
	return u
}

// defaults fills in what v's schema says of fields that a request, or what was stored, leaves out.
func (v *version) defaults(o api.Object) {
	if v.shape().err == nil {
		defaulting.Default(content(o), v.shape().structural)
	}
}

// seen shows objects of the storage version as those of v. The result is read-only.
func (v *version) seen(objects ...api.Object) ([]map[string]any, error) {
	if err := v.shape().err; err != nil {
		return nil, err
	}
	converted, err := v.of.convert.all(objects, v.gvk)
	if err != nil {
		return nil, err
	}
	out := make([]map[string]any, len(converted))
	for i, o := range converted {
		out[i] = content(o)
	}
	return out, nil
}

// read shows stored objects as those of v. Each is first brought into the form that the schema of its own version
// has today, defaults included, then converted; of another version only what its schema knows is left, and its
// defaults are for what is written in it.
func (v *version) read(stored []api.Object) ([]api.Object, error) {
	current := make([]api.Object, len(stored))
	for i, o := range stored {
		var err error
		if current[i], err = v.of.restore(o); err != nil {
			return nil, err
		}
	}
	out, err := v.of.convert.all(current, v.gvk)
	if err != nil {
		return nil, err
	}
	for i, o := range out {
		if o == current[i] {
			continue
		}
		if _, err := v.prune(o); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// hub is read for the storage version.
func (d *definition) hub(stored api.Object) (api.Object, error) {
	out, err := d.storage.read([]api.Object{stored})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// restore returns a stored object in the form that its version's schema has today: an earlier schema may have had
// other fields, and other defaults, and somebody else may have written metadata that is none.
func (d *definition) restore(stored api.Object) (api.Object, error) {
	v := d.version(stored.GetObjectKind().GroupVersionKind().Version)
	if v == nil || v.shape().err != nil {
		return stored, nil
	}
	out := stored.DeepCopyObject().(*unstructured.Unstructured)
	if _, err := v.coerce(out, true); err != nil {
		return nil, err
	}
	if out.GetGeneration() == 0 {
		out.SetGeneration(1) // older than generations
	}
	v.defaults(out)
	return out, nil
}

// version returns the version of a name, or nil.
func (d *definition) version(name string) *version {
	for _, v := range d.versions {
		if v.name == name {
			return v
		}
	}
	return nil
}

// prune drops unknown fields and brings metadata, also that of embedded objects, into its known form.
func (v *version) prune(o api.Object) (unknown []string, err error) {
	if err := v.shape().err; err != nil {
		return nil, err
	}
	return v.coerce(o.(*unstructured.Unstructured), false)
}

// coerce is prune; lenient also drops metadata of the wrong type, which is otherwise an error.
func (v *version) coerce(u *unstructured.Unstructured, lenient bool) (unknown []string, err error) {
	meta, found, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{
		DropMalformedFields: lenient, ReturnUnknownFieldPaths: !lenient,
	})
	if err != nil {
		return nil, err
	}
	if !v.preserve {
		unknown = append(unknown, pruning.PruneWithOptions(u.Object, v.shape().structural, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: !lenient})...)
		defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, v.shape().structural)
	}
	fault, paths := objectmeta.CoerceWithOptions(nil, u.Object, v.shape().structural, false, objectmeta.CoerceOptions{
		DropInvalidFields: lenient, ReturnUnknownFieldPaths: !lenient,
	})
	if fault != nil {
		return nil, fault
	}
	unknown = append(unknown, paths...)
	u.SetGroupVersionKind(v.gvk) // pruning treats the root's own fields like any others
	if found {
		if err := objectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}

// store brings an object that was converted to v, the storage version, into the form that it is stored in: without
// v's defaults, which are for reading.
func (v *version) store(o api.Object) {
	if v.shape().err == nil && !v.preserve {
		pruning.Prune(content(o), v.shape().structural, true)
		defaulting.PruneNonNullableNullsWithoutDefaults(content(o), v.shape().structural)
		o.GetObjectKind().SetGroupVersionKind(v.gvk)
	}
}
