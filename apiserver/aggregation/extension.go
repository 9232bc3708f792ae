package aggregation

import (
	"maps"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/served"
	"clipper/openapi"
)

// An Extension is a group version that another server answers for. It never changes.
type Extension struct {
	schema.GroupVersion
	Priority served.Priority
	// Discovery is what the server last said that it serves; Stale if it could not be asked since.
	Discovery apidiscoveryv2.APIVersionDiscovery
	// OpenAPIV3 is where the server has its schema of the group version, OpenAPIV2 its whole document,
	// compressed. Empty: it has none, or could not be asked yet.
	OpenAPIV3 string
	OpenAPIV2 *Document

	available bool
	backend   *backend
	local     http.Handler // answers instead of a backend
}

// A Document is what a server answered with, as gzip packed it, and its entity tag.
type Document struct {
	Packed []byte
	etag   string
}

// Path is where the group version is served.
func (e *Extension) Path() string {
	if e.Group == "" {
		return "/api/" + e.Version
	}
	return "/apis/" + e.Group + "/" + e.Version
}

// A Directory is the extensions of one moment. It never changes.
type Directory struct {
	extensions map[schema.GroupVersion]*Extension
}

// Find returns the extension that serves a group version, or nil.
func (d *Directory) Find(group, version string) *Extension {
	if d == nil {
		return nil
	}
	return d.extensions[schema.GroupVersion{Group: group, Version: version}]
}

// List returns all extensions by group and version.
func (d *Directory) List() []*Extension {
	if d == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(d.extensions), func(a, b *Extension) int {
		return strings.Compare(a.Path(), b.Path())
	})
}

// Documents returns what the extensions say of their schemas.
func (c *Controller) Documents() []openapi.Extension {
	var out []openapi.Extension
	for _, e := range c.Directory().List() {
		d := openapi.Extension{Path: e.Path()[1:], V3: e.OpenAPIV3}
		if e.OpenAPIV2 != nil {
			d.V2 = e.OpenAPIV2.Packed
		}
		out = append(out, d)
	}
	return out
}
