// Package customresource serves the kinds that users define. It describes CustomResourceDefinition itself,
// turns each definition into the description of a kind (catalogue.Resource), like those of built-in kinds,
// and keeps the table that the API server routes by in step with the definitions there are.
//
// Schemas are pruned, defaulted and checked by upstream's own packages of k8s.io/apiextensions-apiserver.
package customresource

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"clipper/api"
	"clipper/catalogue"
)

// Definitions is the kind of definitions.
var Definitions = api.Kind[*apiextensionsv1.CustomResourceDefinition]{Resource: api.Resource{
	Group: "apiextensions.k8s.io", Version: "v1", Name: "customresourcedefinitions", Kind: "CustomResourceDefinition",
}}

func init() {
	// The store's codec and the API server know kinds by this scheme; client-go leaves definitions out.
	// Nobody is served v1beta1 any more, but it is what upstream's server stores.
	for _, add := range []func(*runtime.Scheme) error{apiextensionsv1.AddToScheme, apiextensionsv1beta1.AddToScheme} {
		if err := add(scheme.Scheme); err != nil {
			panic(err) // the same type registered twice under different names
		}
	}
}

// Definition describes CustomResourceDefinition.
func Definition() *catalogue.Resource {
	return &catalogue.Resource{
		Resource:                 Definitions.Resource,
		Singular:                 "customresourcedefinition",
		ListKind:                 "CustomResourceDefinitionList",
		ShortNames:               []string{"crd", "crds"},
		Categories:               []string{"api-extensions"},
		Prefix:                   "apiextensions.k8s.io/customresourcedefinitions",
		New:                      func() api.Object { return &apiextensionsv1.CustomResourceDefinition{} },
		NewList:                  func() runtime.Object { return &apiextensionsv1.CustomResourceDefinitionList{} },
		Default:                  setDefaults,
		PrepareCreate:            prepareCreate,
		PrepareUpdate:            prepareUpdate,
		ValidateCreate:           validateCreate,
		ValidateUpdate:           validateUpdate,
		Metadata:                 catalogue.NoMetadata,
		MetadataLast:             true,
		Warnings:                 warnings,
		AllowUnconditionalUpdate: false,
		BeginDelete:              beginDelete,
		Status:                   &catalogue.Status{Prepare: prepareStatus, Validate: validateStatus, Metadata: catalogue.NoMetadata, NoTable: true},
		Columns: []metav1.TableColumnDefinition{
			{Name: "Name", Type: "string", Format: "name", Description: metav1.ObjectMeta{}.SwaggerDoc()["name"]},
			{Name: "Created At", Type: "date", Description: metav1.ObjectMeta{}.SwaggerDoc()["creationTimestamp"]},
		},
		Row: func(o api.Object, _ time.Time) []any {
			return []any{o.GetName(), o.GetCreationTimestamp().Time.UTC().Format(time.RFC3339)}
		},
	}
}

func crd(o api.Object) *apiextensionsv1.CustomResourceDefinition {
	return o.(*apiextensionsv1.CustomResourceDefinition)
}

// setDefaults also settles what JSON cannot express but protobuf can: additionalProperties with a schema that are
// forbidden nevertheless. Upstream stores JSON, and so has them allowed.
func setDefaults(o api.Object) {
	d := crd(o)
	settleValues(d)
	apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(d)
	eachSchema(d, func(s *apiextensionsv1.JSONSchemaProps) {
		for _, b := range []*apiextensionsv1.JSONSchemaPropsOrBool{s.AdditionalProperties, s.AdditionalItems} {
			if b != nil && b.Schema != nil {
				b.Allows = true // reached by pointer: what s may be a copy of has it, too
			}
		}
	})
}

// settleValues writes what users say in JSON of their own as upstream stores it: it is read back with other numbers, for one,
// and enumerations tell 1.0 from 1. This is before anything is compared: the order of fields is no change.
func settleValues(d *apiextensionsv1.CustomResourceDefinition) {
	settled := func(v *apiextensionsv1.JSON) {
		var value any
		if v == nil || utiljson.Unmarshal(v.Raw, &value) != nil {
			return
		}
		if text, err := json.Marshal(settle(value)); err == nil {
			v.Raw = text
		}
	}
	eachSchema(d, func(s *apiextensionsv1.JSONSchemaProps) {
		settled(s.Default)
		settled(s.Example)
		for i := range s.Enum {
			settled(&s.Enum[i])
		}
	})
}

func prepareCreate(o api.Object) {
	d := crd(o)
	d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	d.Generation = 1
	noteStored(d)
}

func prepareUpdate(o, old api.Object) {
	d, was := crd(o), crd(old)
	d.Status = *was.Status.DeepCopy()
	if !equality.Semantic.DeepEqual(d.Spec, was.Spec) {
		d.Generation = was.Generation + 1
	}
	noteStored(d)
}

// noteStored remembers every version that objects were ever stored in.
func noteStored(d *apiextensionsv1.CustomResourceDefinition) {
	for _, v := range d.Spec.Versions {
		if v.Storage && !slices.Contains(d.Status.StoredVersions, v.Name) {
			d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
		}
	}
}

// prepareStatus lets no change of the spec through. Metadata may change, as upstream: the controller that
// cleans up takes its finalizer away together with the last condition.
func prepareStatus(o, old api.Object) { crd(o).Spec = crd(old).Spec }

// beginDelete lets a definition wait for the end of its objects. Its dependents are not asked about: the garbage
// collector may have them in the background.
func beginDelete(o api.Object, now time.Time) {
	d, at := crd(o), metav1.NewTime(now).Rfc3339Copy()
	d.DeletionTimestamp = &at
	if isDone(d) {
		d.Finalizers = append(slices.Clone(d.Finalizers), apiextensionsv1.CustomResourceCleanupFinalizer)
	}
	setCondition(&d.Status, pending, at)
}

// warnings names formats that nothing checks, where they were not there before.
func warnings(o, old api.Object) []string {
	known := map[string]bool{}
	if old != nil {
		for _, f := range unknownFormats(old) {
			known[f] = true
		}
	}
	var out []string
	for _, f := range unknownFormats(o) {
		if !known[f] {
			known[f] = true // once, however many versions have the same
			out = append(out, fmt.Sprintf("unrecognized format %q", f))
		}
	}
	return out
}

func unknownFormats(o api.Object) []string {
	var out []string
	eachSchema(crd(o), func(s *apiextensionsv1.JSONSchemaProps) {
		if s.Format != "" {
			schema := &spec.Schema{SchemaProps: spec.SchemaProps{Format: s.Format, Type: []string{s.Type}}}
			out = append(out, schemavalidation.GetUnrecognizedFormats(schema, environment.DefaultCompatibilityVersion())...)
		}
	})
	return out
}

// internal converts a definition to the form that upstream's validation reads. The two share what they can: schemas
// are large, and neither converting nor validating changes them.
func internal(o api.Object) (*apiextensions.CustomResourceDefinition, error) {
	out := &apiextensions.CustomResourceDefinition{}
	return out, apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd(o), out, nil)
}

func validateCreate(o api.Object) field.ErrorList {
	d, err := internal(o)
	if err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("spec"), err)}
	}
	return sound(func() field.ErrorList { return validation.ValidateCustomResourceDefinition(context.Background(), d) })
}

// sound is what check finds. Upstream's validation follows the paths of rules and selectable fields through schemas that
// it has found to be none, or that have no end, and panics there.
func sound(check func() field.ErrorList) (faults field.ErrorList) {
	defer func() {
		if cause := recover(); cause != nil {
			faults = field.ErrorList{field.InternalError(field.NewPath("spec", "versions"), fmt.Errorf("a path leads out of its schema: %v", cause))}
		}
	}()
	return check()
}

func validateUpdate(o, old api.Object) field.ErrorList {
	return bothInternal(o, old, func(d, was *apiextensions.CustomResourceDefinition) field.ErrorList {
		return validation.ValidateCustomResourceDefinitionUpdate(context.Background(), d, was)
	})
}

// validateStatus leaves the spec out: it is the old one's, and converting it costs more than all the rest.
func validateStatus(o, old api.Object) field.ErrorList {
	return bothInternal(withoutSpec(o), withoutSpec(old), validation.ValidateUpdateCustomResourceDefinitionStatus)
}

func withoutSpec(o api.Object) api.Object {
	d := crd(o)
	return &apiextensionsv1.CustomResourceDefinition{ObjectMeta: d.ObjectMeta, Status: d.Status}
}

func bothInternal(o, old api.Object, check func(d, was *apiextensions.CustomResourceDefinition) field.ErrorList) field.ErrorList {
	d, err := internal(o)
	if err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("spec"), err)}
	}
	was, err := internal(old)
	if err != nil {
		return field.ErrorList{field.InternalError(field.NewPath("spec"), err)}
	}
	return sound(func() field.ErrorList { return check(d, was) })
}
