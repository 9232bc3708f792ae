package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"k8s.io/kube-openapi/pkg/aggregator"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// An Extension is what another server says of a group version that it serves.
type Extension struct {
	Path string // "apis/metrics.k8s.io/v1beta1"
	V3   string // where its document of version 3 is; "" for none
	V2   []byte // its whole document of version 2, packed by gzip; nil for none
}

// Extend adds what other servers serve to the documents. Invalidate says when that changed.
func (d *Documents) Extend(extensions func() []Extension) { d.extensions = extensions }

// foreignPart returns what extensions add to the document of version 2 that consists of parts, and what they change in it:
// definitions that kinds of theirs have in common with ours. One that cannot be read is left out: it must not hide the rest.
func (v *v2Writer) foreignPart(media string, parts []part) (out part, err error) {
	extensions := slices.DeleteFunc(slices.Clone(v.extensions()), func(e Extension) bool { return e.V2 == nil })
	if len(extensions) == 0 {
		return nil, nil
	}
	if media != mediaJSON { // what they are compared with
		if parts, err = v.parts(mediaJSON); err != nil {
			return nil, err
		}
	}
	for _, e := range extensions {
		all := join(parts)
		common.describe(all[inParameters])
		more, err := e.addTo(all)
		written := more
		if err == nil && media != mediaJSON {
			written, err = more.transcoded(v.forms())
		}
		if err != nil {
			slog.Warn("OpenAPI of an extension server left out", "path", e.Path, "err", err)
			continue
		}
		parts, out = slices.Concat([]part{more}, parts), append(written, out...)
	}
	return out, nil
}

// addTo returns what e adds to the document that consists of all, and what it changes there. Only what has the same names
// matters to it.
func (e Extension) addTo(all joint) (part, error) {
	more, err := unpackForeign(e.V2)
	if err != nil {
		return nil, err
	}
	more = aggregator.FilterSpecByPathsWithoutSideEffects(more, []string{"/" + e.Path + "/"})
	around, err := all.around(more)
	if err != nil {
		return nil, err
	}
	before, err := partOf(around)
	if err != nil {
		return nil, err
	}
	if err := aggregator.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(around, more); err != nil {
		return nil, err
	}
	after, err := partOf(around)
	known := join([]part{before})
	return slices.DeleteFunc(after, func(e entry) bool {
		i, found := slices.BinarySearchFunc(known[e.section], e.name, func(a entry, name string) int { return strings.Compare(a.name, name) })
		return found && bytes.Equal(known[e.section][i].text, e.text)
	}), err
}

// around returns those of j's paths, definitions and parameters that more may be in conflict with.
func (j *joint) around(more *spec.Swagger) (*spec.Swagger, error) {
	paths := map[string]spec.PathItem{}
	for _, e := range j[inPaths] {
		if more.Paths != nil && has(more.Paths.Paths, e.name) {
			paths[e.name] = spec.PathItem{} // it stays, whatever it says
		}
	}
	definitions, err := near(j[inDefinitions], more.Definitions)
	if err != nil {
		return nil, fmt.Errorf("definition %w", err)
	}
	parameters, err := near(j[inParameters], more.Parameters)
	if err != nil {
		return nil, fmt.Errorf("parameter %w", err)
	}
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{Paths: &spec.Paths{Paths: paths}, Definitions: definitions, Parameters: parameters}}, nil
}

// near reads those of entries that have the names of more, or may have.
func near[V any](entries []entry, more map[string]V) (map[string]V, error) {
	out := map[string]V{}
	for _, e := range entries {
		if !has(more, e.name) {
			continue
		}
		var v V
		if err := json.Unmarshal(e.text, &v); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
		out[e.name] = v
	}
	return out, nil
}

// has says whether there is anything of a name in m, or of one that such a name becomes where it is taken: name_v2.
func has[V any](m map[string]V, name string) bool {
	if _, ok := m[name]; ok {
		return true
	}
	i := strings.LastIndex(name, "_v")
	if i < 0 {
		return false
	}
	_, err := strconv.Atoi(name[i+len("_v"):])
	_, ok := m[name[:i]]
	return ok && err == nil
}

// partOf returns what a document says.
func partOf(s *spec.Swagger) (out part, err error) {
	add := func(of section, name string, v any) {
		var text []byte
		if err == nil {
			text, err = json.Marshal(v)
		}
		out = append(out, entry{of, name, text})
	}
	for name, v := range s.Paths.Paths {
		add(inPaths, name, v)
	}
	for name, v := range s.Definitions {
		add(inDefinitions, name, v)
	}
	for name, v := range s.Parameters {
		add(inParameters, name, v)
	}
	return out, err
}

// maxForeign bounds what another server's document may unpack to.
const maxForeign = 64 << 20

// unpackForeign opens a document that another server has sent.
func unpackForeign(packed []byte) (*spec.Swagger, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, maxForeign+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxForeign {
		return nil, fmt.Errorf("larger than %d bytes", maxForeign)
	}
	out := &spec.Swagger{}
	return out, json.Unmarshal(data, out)
}
