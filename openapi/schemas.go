package openapi

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

//go:embed v2.json.gz
var packedV2 []byte

//go:embed v3.json.gz
var packedV3 []byte

// unpack decodes gzipped JSON into out.
func unpack(packed []byte, out any) error {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("open embedded schemas: %w", err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("open embedded schemas: %w", err)
	}
	return json.Unmarshal(data, out)
}

// patchSchema is that of patches, which have no Go type.
var patchSchema = json.RawMessage(`{"description":"Patch is provided to give a concrete name and type to the Kubernetes PATCH request body.","type":"object"}`)

// ownSchemas returns the server's own schemas for the document of a group version of version 3. Custom kinds refer to few
// of them, and there may be hundreds of documents of these. The result is the caller's.
func (e *edition) ownSchemas(gv string) (schemas, error) {
	if e.isCustom(gv) {
		all, err := besideCustom()
		return maps.Clone(all), err
	}
	var all schemas
	if err := unpack(packedV3, &all); err != nil {
		return nil, err
	}
	all[patchModel] = patchSchema
	return all, nil
}

// besideCustom are the schemas that custom kinds refer to.
var besideCustom = sync.OnceValues(func() (schemas, error) {
	var all schemas
	if err := unpack(packedV3, &all); err != nil {
		return nil, err
	}
	all[patchModel] = patchSchema
	var roots []string
	for name := range all {
		if strings.HasPrefix(name, metaModel) || strings.HasPrefix(name, scaleModel) {
			roots = append(roots, name)
		}
	}
	few := all.closure(roots)
	for name, text := range few {
		few[name] = slices.Clone(text) // the rest of the text that it was cut out of may go
	}
	return few, nil
})

// schemas are component schemas by model name, each still encoded.
type schemas map[string]json.RawMessage

// eachReference calls fn with the name of every schema that text refers to, in the form of either version.
func eachReference(text []byte, fn func(name string)) {
	for {
		_, rest, found := bytes.Cut(text, []byte(`"#/`))
		if !found {
			return
		}
		text = rest
		for _, kind := range []string{definitionRefs[len("#/"):], schemaRefs[len("#/"):]} {
			if name, ok := bytes.CutPrefix(rest, []byte(kind)); ok {
				if end := bytes.IndexByte(name, '"'); end > 0 {
					fn(string(name[:end]))
				}
			}
		}
	}
}

// closure returns the schemas named by roots and all that they refer to.
func (s schemas) closure(roots []string) schemas {
	out := schemas{}
	for queue := roots; len(queue) > 0; queue = queue[1:] {
		name := queue[0]
		schema, known := s[name]
		if _, done := out[name]; done || !known {
			continue
		}
		out[name] = schema
		eachReference(schema, func(name string) { queue = append(queue, name) })
	}
	return out
}

// everywhere are the models that are kinds of every group version.
var everywhere = []string{deleteModel, eventModel}

// served says of which kinds such a model is in a document of version 3: of those of its group version, and that of the core
// group. What upstream says of custom kinds it makes where two groups are not known.
func (e *edition) served(gv string) func(metav1.GroupVersionKind) bool {
	if e.isCustom(gv) {
		return func(k metav1.GroupVersionKind) bool {
			return k.Group != apiextensionsv1.GroupName && k.Group != apiregistrationv1.GroupName
		}
	}
	group, version := parseGroupVersion(gv)
	return func(k metav1.GroupVersionKind) bool {
		return k.Version == version && k.Group == group || k.Group == "" && k.Version == "v1"
	}
}

// narrow leaves of the kinds that such models are those that keep says.
func (s schemas) narrow(keep func(metav1.GroupVersionKind) bool) error {
	for _, name := range everywhere {
		text, ok := s[name]
		if !ok {
			continue
		}
		var model map[string]json.RawMessage
		if err := json.Unmarshal(text, &model); err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
		const key = "x-kubernetes-group-version-kind"
		var kinds []metav1.GroupVersionKind
		if err := json.Unmarshal(model[key], &kinds); err != nil {
			return fmt.Errorf("schema %s: %w", name, err)
		}
		kinds = slices.DeleteFunc(kinds, func(k metav1.GroupVersionKind) bool { return !keep(k) })
		var err error
		if model[key], err = json.Marshal(kinds); err != nil {
			return err
		}
		if s[name], err = json.Marshal(model); err != nil {
			return err
		}
	}
	return nil
}
