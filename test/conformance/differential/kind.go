package differential

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/all"
)

// namespaceName is where namespaced objects are.
const namespaceName = "default"

// A kind is a kind in one of its versions, as the catalogue and as upstream know it.
type kind struct {
	name       string // "pods", "deployments.apps", "events@events.k8s.io.v1"
	resource   *catalogue.Resource
	version    *catalogue.Version // nil: the storage version
	gvk        schema.GroupVersionKind
	strategies strategies
}

// kinds returns those kinds of the catalogue that upstream has a strategy for, in the catalogue's order, and
// the names of those stored kinds that it has none for.
func kinds() (known []*kind, unknown []string) {
	for _, r := range all.Resources() {
		name := r.Name
		if r.Group != "" {
			name += "." + r.Group
		}
		upstream, ok := upstreams[name]
		if !ok {
			if r.Prefix != "" {
				unknown = append(unknown, name)
			}
			continue
		}
		known = append(known, &kind{name: name, resource: r, gvk: r.GVK(), strategies: upstream})
		for i := range r.Also {
			known = append(known, otherVersion(name, r, &r.Also[i], upstream))
		}
	}
	return known, unknown
}

func otherVersion(name string, r *catalogue.Resource, v *catalogue.Version, upstream strategies) *kind {
	gvk := r.GVK()
	gvk.Version = v.Version
	if v.Group != "" {
		gvk.Group = v.Group
	}
	return &kind{name: name + "@" + gvk.Group + "." + gvk.Version, resource: r, version: v, gvk: gvk, strategies: upstream}
}

// namespace is that of the kind's objects: none for kinds of the cluster.
func (k *kind) namespace() string {
	if k.resource.Namespaced {
		return namespaceName
	}
	return ""
}

// new returns an empty object in the kind's version.
func (k *kind) new() api.Object {
	if k.version != nil {
		return k.version.New()
	}
	return k.resource.New()
}

// decode reads an object in the kind's version and leaves it as it is.
func (k *kind) decode(data []byte) (api.Object, error) {
	obj := k.new()
	if err := json.Unmarshal(data, obj); err != nil {
		return nil, err
	}
	obj.GetObjectKind().SetGroupVersionKind(k.gvk)
	return obj, nil
}

// A write is one request: an object to create, or to put in the place of old.
type write struct {
	sub         string // the subresource written to, "" for the object itself
	object, old []byte // JSON in the kind's version; old is nil on create
}

// operation names what the write is: create, update, or the subresource.
func (w write) operation() string {
	switch {
	case w.sub != "":
		return w.sub
	case w.old != nil:
		return "update"
	}
	return "create"
}
