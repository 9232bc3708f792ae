package customresource

import (
	"fmt"
	"maps"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
)

// describe turns a definition into the description of its kind. client finds the service of its webhook.
func describe(d *apiextensionsv1.CustomResourceDefinition, client api.Client) (*catalogue.Resource, error) {
	versions := map[string]*version{}
	var storage *version
	for i := range d.Spec.Versions {
		v, err := compile(d, &d.Spec.Versions[i])
		if err != nil {
			return nil, fmt.Errorf("definition %s, version %s: %w", d.Name, d.Spec.Versions[i].Name, err)
		}
		versions[v.name] = v
		if v.spec.Storage {
			storage = v
		}
	}
	if storage == nil {
		return nil, fmt.Errorf("definition %s: no version is the storage version", d.Name)
	}
	names := d.Status.AcceptedNames
	r := &catalogue.Resource{
		Resource: api.Resource{
			Group: d.Spec.Group, Version: storage.name, Name: names.Plural, Kind: names.Kind,
			Namespaced: d.Spec.Scope == apiextensionsv1.NamespaceScoped,
		},
		Singular:                 names.Singular,
		ListKind:                 names.ListKind,
		ShortNames:               names.ShortNames,
		Categories:               names.Categories,
		Prefix:                   d.Spec.Group + "/" + names.Plural,
		New:                      storage.empty,
		NewList:                  storage.emptyList,
		Default:                  storage.defaults,
		ValidateCreate:           storage.validateCreate,
		ValidateUpdate:           storage.validateUpdate,
		AllowUnconditionalUpdate: false,
		PrepareCreate:            func(o api.Object) { prepareObject(o, storage.hasStatus()) },
		PrepareUpdate:            func(o, old api.Object) { prepareObjectUpdate(o, old, storage.hasStatus()) },
		Scale:                    storage.scale(),
		Fields:                   fields(versions),
	}
	if storage.hasStatus() {
		r.Status = &catalogue.Status{Prepare: prepareObjectStatus, Validate: storage.validateUpdate}
	}
	if d.DeletionTimestamp != nil { // objects may go, but none may come any more
		r.Verbs = []string{"delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	}
	convert, err := converter(d, client)
	if err != nil {
		return nil, err
	}
	return r, finish(r, d, versions, storage, convert)
}

// finish adds what each version has of its own.
func finish(r *catalogue.Resource, d *apiextensionsv1.CustomResourceDefinition, versions map[string]*version, storage *version, convert convert) error {
	c := &catalogue.Custom{
		Prune:    map[string]func(api.Object) ([]string, error){},
		Columns:  map[string][]metav1.TableColumnDefinition{},
		Row:      map[string]func(api.Object, time.Time) []any{},
		Schemas:  map[string]catalogue.Schema{},
		Defaults: map[string]func(api.Object){},
		Convert:  convert,
		ID:       fmt.Sprintf("/%s/%d", d.UID, d.Generation),
		Unserved: !storage.spec.Served,
	}
	r.Custom = c
	for i := range d.Spec.Versions {
		v := versions[d.Spec.Versions[i].Name]
		c.Prune[v.name] = v.prune
		if !v.spec.Served {
			continue
		}
		c.Columns[v.name], c.Row[v.name] = v.table()
		if hasDefaults(v.structural) {
			c.Defaults[v.name] = v.defaults
		}
		s, err := v.schema()
		if err != nil {
			return err
		}
		c.Schemas[v.name] = s
		if v == storage {
			continue
		}
		r.Also = append(r.Also, catalogue.Version{
			Version: v.name,
			New:     v.empty,
			NewList: v.emptyList,
			Default: v.defaults,
			ToHub:   func(in api.Object) (api.Object, error) { return convert(in, storage.gvk) },
			FromHub: func(in api.Object) (api.Object, error) { return convert(in, v.gvk) },
		})
	}
	types, err := typeConverter(d, versions)
	r.Types = types
	return err
}

func content(o api.Object) map[string]any { return o.(*unstructured.Unstructured).Object }

func prepareObject(o api.Object, hasStatus bool) {
	if hasStatus {
		delete(content(o), "status")
	}
	o.SetGeneration(1)
}

// prepareObjectUpdate keeps the status where it has a subresource; any other change but of metadata makes
// a new generation.
func prepareObjectUpdate(o, old api.Object, hasStatus bool) {
	next, was := content(o), content(old)
	if hasStatus {
		if status, ok := was["status"]; ok {
			next["status"] = status
		} else {
			delete(next, "status")
		}
	}
	if !equality.Semantic.DeepEqual(withoutMetadata(next), withoutMetadata(was)) {
		o.SetGeneration(old.GetGeneration() + 1)
	}
}

func withoutMetadata(in map[string]any) map[string]any {
	out := maps.Clone(in)
	delete(out, "metadata")
	return out
}

// prepareObjectStatus lets only the status through.
func prepareObjectStatus(o, old api.Object) {
	u := o.(*unstructured.Unstructured)
	fields, revision := u.GetManagedFields(), u.GetResourceVersion()
	status, has := u.Object["status"]
	u.Object = runtime.DeepCopyJSON(content(old))
	if has {
		u.Object["status"] = status
	} else {
		delete(u.Object, "status")
	}
	u.SetManagedFields(fields)
	u.SetResourceVersion(revision)
}

// scale describes the scale subresource; nil if there is none.
func (v *version) scale() *catalogue.Scale {
	if v.spec.Subresources == nil || v.spec.Subresources.Scale == nil {
		return nil
	}
	s := v.spec.Subresources.Scale
	number := func(o api.Object, path string) int32 {
		n, _, err := unstructured.NestedInt64(content(o), segments(path)...)
		if err != nil {
			return 0 // the schema allows something else than a number there
		}
		return int32(n)
	}
	return &catalogue.Scale{
		Replicas: func(o api.Object) (spec, status int32) {
			return number(o, s.SpecReplicasPath), number(o, s.StatusReplicasPath)
		},
		SetReplicas: func(o api.Object, n int32) {
			_ = unstructured.SetNestedField(content(o), int64(n), segments(s.SpecReplicasPath)...) // fails where the schema has no object there
		},
		Selector: func(o api.Object) string {
			if s.LabelSelectorPath == nil {
				return ""
			}
			text, _, _ := unstructured.NestedString(content(o), segments(*s.LabelSelectorPath)...)
			return text
		},
	}
}

// segments splits a simple path such as .spec.replicas; validation has seen to it that it is one.
func segments(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// fields are what objects can be selected by, in any version: without a webhook all have one shape.
func fields(versions map[string]*version) map[string]func(api.Object) string {
	out := map[string]func(api.Object) string{}
	for _, v := range versions {
		for _, f := range v.spec.SelectableFields {
			path := segments(f.JSONPath)
			out[strings.Join(path, ".")] = func(o api.Object) string {
				value, found, err := unstructured.NestedFieldNoCopy(content(o), path...)
				if err != nil || !found {
					return ""
				}
				return fmt.Sprint(value)
			}
		}
	}
	return out
}

// hasDefaults says whether any field of s has a default.
func hasDefaults(s *structuralschema.Structural) bool {
	if s == nil {
		return false
	}
	if s.Default.Object != nil || hasDefaults(s.Items) {
		return true
	}
	if s.AdditionalProperties != nil && hasDefaults(s.AdditionalProperties.Structural) {
		return true
	}
	for _, p := range s.Properties {
		if hasDefaults(&p) {
			return true
		}
	}
	return false
}
