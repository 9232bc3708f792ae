//go:build generate

// Command generate writes the schema files that package openapi embeds: the component schemas of
// OpenAPI v2 and v3 and the structured-merge types. generate.sh makes the definitions it reads.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/endpoints/openapi"
	"k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	apiregistrationv1beta1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1beta1"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/util"

	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"

	"clipper/catalogue/all"
	"clipper/catalogue/preview"
	"clipper/openapi/generate/definitions"
	"clipper/openapi/mergetype"
)

func main() {
	log.SetFlags(0)
	if err := run(); err != nil {
		log.Fatalf("openapi: generate schemas: %v", err)
	}
}

func run() error {
	s, err := newScheme(served)
	if err != nil {
		return err
	}
	all, err := newScheme(slices.Concat(served, known))
	if err != nil {
		return err
	}
	names := roots(s)
	namer := openapi.NewDefinitionNamer(s)

	v2, err := builder.BuildOpenAPIDefinitionsForResources(&common.Config{
		GetDefinitions: definitions.GetOpenAPIDefinitions, GetDefinitionName: openapi.NewDefinitionNamer(all).GetDefinitionName,
	}, names...)
	if err != nil {
		return err
	}
	v3, err := builder3.BuildOpenAPIDefinitionsForResources(&common.OpenAPIV3Config{
		GetDefinitions: definitions.GetOpenAPIDefinitions, GetDefinitionName: namer.GetDefinitionName,
	}, names...)
	if err != nil {
		return err
	}
	types, err := schemaconv.ToSchemaFromOpenAPI(v3, false)
	if err != nil {
		return err
	}
	merge, err := mergeFile(s, namer, types.Types)
	if err != nil {
		return err
	}
	for name, content := range map[string]any{"v2.json.gz": handler.PruneDefaults(v2.Definitions), "v3.json.gz": v3, "types.json.gz": merge} {
		if err := write(name, content); err != nil {
			return err
		}
	}
	return nil
}

type adder = func(*runtime.Scheme) error

var (
	// served is what the server has of groups, the ones of custom resources aside.
	served = []adder{scheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme}
	// known is what upstream's servers know beside and do not serve: version 2 of OpenAPI, which has one document for all
	// groups, says of what belongs to every group (DeleteOptions, WatchEvent) that it belongs to these, too.
	known = []adder{admissionv1.AddToScheme, admissionv1beta1.AddToScheme, imagepolicyv1alpha1.AddToScheme,
		apiextensionsv1beta1.AddToScheme, apiregistrationv1beta1.AddToScheme}
)

func newScheme(groups []adder) (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range groups {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// roots returns the model names of all kinds of the scheme's external versions, and of the types that only
// the server's own endpoints return. What they refer to follows.
func roots(s *runtime.Scheme) []string {
	var names []string
	for gvk := range s.AllKnownTypes() {
		obj, err := s.New(gvk)
		if err != nil || gvk.Version == runtime.APIVersionInternal || unserved(gvk) {
			continue
		}
		names = append(names, util.GetCanonicalTypeName(obj))
	}
	names = append(names, util.GetCanonicalTypeName(&version.Info{}))
	sort.Strings(names)
	uniq := names[:0]
	for _, n := range names {
		if len(uniq) == 0 || uniq[len(uniq)-1] != n {
			uniq = append(uniq, n)
		}
	}
	return uniq
}

// mergeFile returns the file form of types with the model name of every kind that is a root.
func mergeFile(s *runtime.Scheme, namer *openapi.DefinitionNamer, types []smdschema.TypeDef) (mergetype.File, error) {
	f := mergetype.File{Kinds: map[string]string{}, Types: map[string]json.RawMessage{}}
	for _, t := range types {
		data, err := json.Marshal(mergetype.FromAtom(t.Atom))
		if err != nil {
			return f, err
		}
		f.Types[t.Name] = data
	}
	for gvk := range s.AllKnownTypes() {
		obj, err := s.New(gvk)
		if err != nil || gvk.Version == runtime.APIVersionInternal || unserved(gvk) {
			continue
		}
		name, _ := namer.GetDefinitionName(util.GetCanonicalTypeName(obj))
		if _, ok := f.Types[name]; !ok {
			return f, fmt.Errorf("%v: no model %q", gvk, name)
		}
		f.Kinds[mergetype.KindKey(gvk)] = name
	}
	return f, nil
}

// unserved reports kinds that no server serves: alpha and beta versions, those aside that it can be asked for, and
// groups that are only known to clients.
func unserved(gvk schema.GroupVersionKind) bool {
	if gvk.Group == "extensions" || gvk.Group == "imagepolicy.k8s.io" {
		return true
	}
	if previewed()[gvk] {
		return false
	}
	return strings.Contains(gvk.Version, "alpha") || strings.Contains(gvk.Version, "beta")
}

// previewed are the kinds, and their lists, that a server can be asked for.
var previewed = sync.OnceValue(func() map[schema.GroupVersionKind]bool {
	out := map[schema.GroupVersionKind]bool{}
	for _, r := range all.Resources() {
		for _, v := range preview.Of(r) {
			gvk := schema.GroupVersionKind{Group: r.Group, Version: v.Version, Kind: r.Kind}
			out[gvk] = true
			gvk.Kind = r.ListKind
			out[gvk] = true
		}
	}
	return out
})

func write(name string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	log.Printf("%s: %d bytes, %d packed", name, len(data), packed.Len())
	return os.WriteFile(name, packed.Bytes(), 0o644)
}
