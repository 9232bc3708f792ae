package openapi

import (
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/catalogue"
)

// An edition is what is served between two changes. Its methods write the documents of that time.
type edition struct {
	number        int
	resources     []*catalogue.Resource
	groupVersions map[string][]*catalogue.Resource
	extensions    func() []Extension
	hashes        sync.Map // group version → string
}

func newEdition(number int, resources []*catalogue.Resource, extensions func() []Extension) *edition {
	return &edition{number: number, resources: resources, groupVersions: groupVersions(resources), extensions: extensions}
}

// Where documents are.
const (
	v2Path    = "/openapi/v2"
	indexPath = "/openapi/v3"
)

// groupVersions returns the served ones in the form of v3 paths ("api/v1", "apis/apps/v1") with their
// resources.
func groupVersions(resources []*catalogue.Resource) map[string][]*catalogue.Resource {
	out := map[string][]*catalogue.Resource{}
	for _, r := range resources {
		add := func(r *catalogue.Resource, group, version string) {
			gv := strings.TrimPrefix(basePath(group, version), "/")
			out[gv] = append(out[gv], r)
		}
		if r.Served() {
			add(r, r.Group, r.Version)
		}
		for _, v := range r.Also {
			if v.Withheld {
				continue
			}
			group, as := r.Group, r
			if v.Group != "" {
				group = v.Group
			}
			if v.Resource != nil {
				as = v.Resource
			}
			add(as, group, v.Version)
		}
	}
	return out
}

// parseGroupVersion undoes what groupVersions' keys are: "api/v1" or "apis/GROUP/VERSION".
func parseGroupVersion(gv string) (group, version string) {
	if rest, ok := strings.CutPrefix(gv, "apis/"); ok {
		group, version, _ = strings.Cut(rest, "/")
		return group, version
	}
	return "", strings.TrimPrefix(gv, "api/")
}

// v3Index renders /openapi/v3: where the document of each group and version is. The hash in the address
// lets clients keep a document for good; it covers all that the documents are made from.
func (e *edition) v3Index(w io.Writer) error {
	type entry struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]entry{}
	for gv, resources := range e.groupVersions {
		paths[gv] = entry{addressV3(gv, e.hashOf(gv, resources))}
	}
	for path := range aside() {
		paths[path] = entry{addressV3(path, hashOf(nil))}
	}
	for _, path := range e.groups() {
		paths[path] = entry{addressV3(path, hashOf(nil))}
	}
	for _, x := range e.extensions() {
		if delete(paths, x.Path); x.V3 != "" {
			paths[x.Path] = entry{x.V3}
		}
	}
	data, err := json.Marshal(map[string]any{"paths": paths})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// hash is that of what the document at a path is made from; ok if there is one.
func (e *edition) hash(path string) (hash string, ok bool) {
	if path == v2Path || path == indexPath {
		return strconv.Itoa(e.number), true // of everything
	}
	gv := strings.TrimPrefix(path, indexPath+"/")
	if resources, ok := e.groupVersions[gv]; ok {
		return e.hashOf(gv, resources), true
	}
	_, ok = e.lone(gv)
	return hashOf(nil), ok
}

// hashOf is that of a group version. It is worked out once: the index has all of them.
func (e *edition) hashOf(gv string, resources []*catalogue.Resource) string {
	if hash, ok := e.hashes.Load(gv); ok {
		return hash.(string)
	}
	hash := hashOf(resources)
	e.hashes.Store(gv, hash)
	return hash
}

// ownSum covers the schemas of the server's own kinds.
var ownSum = sync.OnceValue(func() [sha512.Size]byte { return sha512.Sum512(packedV3) })

// hashOf covers all that a group version's document is made from.
func hashOf(resources []*catalogue.Resource) string {
	sum, own := sha512.New(), ownSum()
	sum.Write(own[:])
	for _, r := range resources {
		fmt.Fprintf(sum, "%v %v %v %v %v\n", r.Resource, r.Verbs, len(r.Subresources), r.Status != nil, r.Scale != nil)
		if r.Custom != nil {
			fmt.Fprintln(sum, r.Custom.ID)
		}
	}
	return fmt.Sprintf("%X", sum.Sum(nil))
}

func addressV3(gv, hash string) string { return indexPath + "/" + gv + "?hash=" + hash }

// v3 renders the document of one group and version.
func (e *edition) v3(gv string) ([]byte, error) {
	all, err := e.ownSchemas(gv)
	if err != nil {
		return nil, err
	}
	models, err := kindModels()
	if err != nil {
		return nil, err
	}
	var of schema.GroupVersion
	of.Group, of.Version = parseGroupVersion(gv)
	wanted := func(gv schema.GroupVersion) bool { return gv == of }
	models = addCustom(e.resources, wanted, models, all)
	paths := map[string]pathItem{}
	var roots []string
	add := func(o operation) {
		addPath(paths, o, o.v3())
		roots = append(roots, o.body, o.response)
	}
	if o, ok := e.lone(gv); ok {
		add(o)
	} else {
		e.eachOperation(gv, models, add)
	}
	for _, item := range paths {
		lift(item)
	}
	used := all.closure(roots)
	if err := used.narrow(e.served(gv)); err != nil {
		return nil, err
	}
	doc := map[string]any{"openapi": "3.0.0", "info": info(), "paths": paths, "components": components(used)}
	if e.isCustom(gv) { // upstream makes these in another way
		doc["info"], doc["components"] = customInfo(), map[string]any{"schemas": used}
	}
	return json.Marshal(doc)
}

// isCustom says whether the kinds of a group version are custom ones.
func (e *edition) isCustom(gv string) bool {
	of := e.groupVersions[gv]
	return len(of) > 0 && of[0].Custom != nil
}

// components are those of a document: where it has no schemas, it does not say so.
func components(used schemas) map[string]any {
	out := map[string]any{"securitySchemes": bearer()}
	if len(used) > 0 {
		out["schemas"] = used
	}
	return out
}

// eachOperation calls fn for all that can be done in a group version. Custom ones are found in other ways.
func (e *edition) eachOperation(gv string, models map[string]string, fn func(operation)) {
	group, version := parseGroupVersion(gv)
	resources := e.groupVersions[gv]
	if resources[0].Custom == nil {
		fn(resourcesOperation(group, version))
	}
	for _, r := range resources {
		for _, o := range operations(r, group, version, models) {
			fn(o)
		}
	}
}

func addPath(paths map[string]pathItem, o operation, rendered map[string]any) {
	if paths[o.path] == nil {
		paths[o.path] = pathItem{}
	}
	paths[o.path][o.method] = rendered
}

// bearer is how clients prove who they are.
func bearer() map[string]any {
	return map[string]any{"BearerToken": map[string]string{
		"description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header",
	}}
}

func customInfo() map[string]string {
	return map[string]string{"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
}

func info() map[string]string { return map[string]string{"title": "Kubernetes", "version": "v1.36.3"} }
