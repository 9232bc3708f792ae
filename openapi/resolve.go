package openapi

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"clipper/catalogue"
	"clipper/openapi/mergetype"
)

// A Resolver finds the whole schemas of kinds, for what checks expressions against them. It keeps nothing:
// that is rare, and the schemas are large.
type Resolver struct {
	Resources func() []*catalogue.Resource // what is served now
}

var _ resolver.SchemaResolver = Resolver{}

// ResolveSchema implements resolver.SchemaResolver: everything that the schema refers to stands in its place.
func (r Resolver) ResolveSchema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	var all schemas
	if err := unpack(packedV3, &all); err != nil {
		return nil, err
	}
	models, err := kindModels()
	if err != nil {
		return nil, err
	}
	wanted := func(gv schema.GroupVersion) bool { return gv == gvk.GroupVersion() }
	models = addCustom(r.Resources(), wanted, models, all)
	model, ok := models[mergetype.KindKey(gvk)]
	if !ok {
		return nil, fmt.Errorf("cannot resolve %v: %w", gvk, resolver.ErrSchemaNotFound)
	}
	decoded := map[string]*spec.Schema{}
	var fault error
	out, err := resolver.PopulateRefs(func(ref string) (*spec.Schema, bool) {
		name := strings.TrimPrefix(ref, schemaRefs)
		if decoded[name] == nil {
			s := &spec.Schema{}
			if err := json.Unmarshal(all[name], s); err != nil {
				fault = fmt.Errorf("schema %s: %w", name, err)
				return nil, false
			}
			decoded[name] = s
		}
		c := *decoded[name]
		return &c, true
	}, model)
	if fault != nil {
		return nil, fault
	}
	return out, err
}
