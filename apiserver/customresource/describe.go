package customresource

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kubeversion "k8s.io/apimachinery/pkg/version"

	"clipper/api"
	"clipper/catalogue"
)

// The verbs of custom resources, in upstream's order. Nothing new may come once the definition is going.
var (
	verbs            = []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
	terminatingVerbs = []string{"delete", "deletecollection", "get", "list", "watch"}
)

// A definition is a CustomResourceDefinition with its versions. Objects are stored in one version; every other is
// described as what it makes of those.
type definition struct {
	*apiextensionsv1.CustomResourceDefinition
	versions []*version
	storage  *version
	convert  convert
	types    mergeTypes
	among    *warmth
	replaced context.Context
}

// describe turns a definition into the description of its kind, which holds until replaced ends.
func describe(replaced context.Context, crd *apiextensionsv1.CustomResourceDefinition, converters *converters, among *warmth) (*catalogue.Resource, error) {
	d := &definition{CustomResourceDefinition: crd, among: among, replaced: replaced}
	for i := range crd.Spec.Versions {
		v := newVersion(d, &crd.Spec.Versions[i])
		d.versions = append(d.versions, v)
		if v.spec.Storage {
			d.storage = v
		}
	}
	if d.storage == nil {
		return nil, fmt.Errorf("definition %s: no version is the storage version", crd.Name)
	}
	var err error
	if d.convert, err = converters.of(crd); err != nil {
		return nil, fmt.Errorf("definition %s: conversion webhook: %w", crd.Name, err)
	}
	d.types = newMergeTypes(d)
	r := d.storage.resource()
	for _, v := range d.versions {
		if v != d.storage && v.spec.Served {
			r.Also = append(r.Also, v.also())
		}
	}
	return r, nil
}

// also describes a version that objects are not stored in.
func (v *version) also() catalogue.Version {
	return catalogue.Version{
		Version:  v.name,
		New:      v.empty,
		NewList:  v.emptyList,
		Default:  v.defaults,
		ToHub:    func(in api.Object) (api.Object, error) { return v.of.convert.one(in, v.of.storage.gvk) },
		FromHub:  func(in api.Object) (api.Object, error) { return v.of.convert.one(in, v.gvk) },
		Resource: v.resource(),
	}
}

// resource describes the kind as v has it. What it says of objects is about those of the storage version.
func (v *version) resource() *catalogue.Resource {
	d, names := v.of, v.of.Status.AcceptedNames
	r := &catalogue.Resource{
		Resource: api.Resource{
			Group: d.Spec.Group, Version: d.storage.name, Name: names.Plural, Kind: names.Kind,
			Namespaced: d.Spec.Scope == apiextensionsv1.NamespaceScoped,
		},
		Singular:                 names.Singular,
		ListKind:                 names.ListKind,
		ShortNames:               names.ShortNames,
		Categories:               names.Categories,
		Verbs:                    verbs,
		Prefix:                   d.Spec.Group + "/" + names.Plural,
		New:                      d.storage.empty,
		NewList:                  d.storage.emptyList,
		Default:                  d.storage.defaults,
		ValidateCreate:           v.validateCreate,
		ValidateUpdate:           v.validateUpdate,
		AllowUnconditionalUpdate: false,
		PrepareCreate:            func(o api.Object) { prepareObject(o, v.hasStatus()) },
		PrepareUpdate:            func(o, old api.Object) { prepareObjectUpdate(o, old, v.hasStatus()) },
		Canonicalize:             v.canonicalize,
		Warnings:                 finalizerWarnings,
		Scale:                    v.scale(),
		Fields:                   v.fields(),
		Types:                    d.types,
	}
	if v != d.storage {
		r.Default = nil // what is written in v has the defaults of v
	}
	if d.DeletionTimestamp != nil {
		r.Verbs = terminatingVerbs
	}
	if v.hasStatus() {
		r.Status = &catalogue.Status{Prepare: prepareObjectStatus, Validate: v.validateStatus}
	}
	r.Columns, r.Row = v.table()
	r.Custom = &catalogue.Custom{
		Prune:       v.prune,
		Read:        v.read,
		Hub:         d.hub,
		Convert:     d.convert.all,
		Remote:      d.convert.remote,
		Schema:      v.openAPI,
		Keep:        v.keep,
		ID:          fmt.Sprintf("/%s/%d", d.UID, d.Generation),
		Unserved:    !v.spec.Served,
		Terminating: d.DeletionTimestamp != nil,
		Replaced:    d.replaced,
		Deprecated:  v.deprecation(),
	}
	return r
}

// deprecation is what users of a deprecated version are told; "" for the others.
func (v *version) deprecation() string {
	if !v.spec.Deprecated {
		return ""
	}
	if v.spec.DeprecationWarning != nil {
		return *v.spec.DeprecationWarning
	}
	spec := &v.of.Spec
	text := fmt.Sprintf("%s/%s %s is deprecated", spec.Group, v.name, spec.Names.Kind)
	var better []string
	for _, o := range spec.Versions {
		if o.Served && !o.Deprecated && kubeversion.CompareKubeAwareVersionStrings(v.name, o.Name) < 0 {
			better = append(better, o.Name)
		}
	}
	if len(better) > 0 {
		text += fmt.Sprintf("; use %s/%s %s", spec.Group, slices.MaxFunc(better, kubeversion.CompareKubeAwareVersionStrings), spec.Names.Kind)
	}
	return text
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

// canonicalize brings an object that is valid in v into the form that it is stored in: of another version only what the
// storage version knows is left.
func (v *version) canonicalize(o api.Object) {
	if storage := v.of.storage; v != storage {
		storage.store(o)
	}
	settle(content(o))
}

// settle gives an object the numbers that it is read back with: JSON does not tell 1.0 from 1.
func settle(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if _, number := e.(float64); number {
				v[k] = settle(e)
			} else {
				settle(e)
			}
		}
	case []any:
		for i, e := range v {
			v[i] = settle(e)
		}
	case float64:
		if v == math.Trunc(v) && -1<<63 <= v && v < 1<<63 {
			return int64(v)
		}
	}
	return v
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

// segments splits a simple path such as .spec.replicas; validation has seen to it that it is one.
func segments(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }

// fields are what v's objects can be selected by.
func (v *version) fields() map[string]func(api.Object) string {
	out := map[string]func(api.Object) string{}
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
	return out
}
