package openapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

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

// mergeV2 adds the extensions' paths and definitions to the document of version 2. One that cannot be read
// is left out: it must not hide the rest.
func mergeV2(doc []byte, extensions []Extension) ([]byte, error) {
	var whole *spec.Swagger
	for _, e := range extensions {
		if e.V2 == nil {
			continue
		}
		if whole == nil {
			whole = &spec.Swagger{}
			if err := json.Unmarshal(doc, whole); err != nil {
				return nil, fmt.Errorf("read the built-in document: %w", err)
			}
		}
		more, err := unpackForeign(e.V2)
		if err != nil {
			slog.Warn("OpenAPI of an extension server left out", "path", e.Path, "err", err)
			continue
		}
		more = aggregator.FilterSpecByPathsWithoutSideEffects(more, []string{"/" + e.Path + "/"})
		if err := aggregator.MergeSpecsIgnorePathConflictRenamingDefinitionsAndParameters(whole, more); err != nil {
			slog.Warn("OpenAPI of an extension server left out", "path", e.Path, "err", err)
		}
	}
	if whole == nil {
		return doc, nil
	}
	return json.Marshal(whole)
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
