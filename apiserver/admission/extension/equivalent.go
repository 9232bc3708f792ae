package extension

import (
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/apiserver/served"
)

// EquivalentResourcesFor implements runtime.EquivalentResourceMapper: every group and version under which
// a resource is served.
func (o Objects) EquivalentResourcesFor(gvr schema.GroupVersionResource, subresource string) (out []schema.GroupVersionResource) {
	table := o.table()
	k := table.Lookup(gvr.Group, gvr.Version, gvr.Resource)
	if k == nil || !has(k, subresource) {
		return nil
	}
	if storage := table.Storage(k.Resource); storage != nil {
		out = append(out, storage.GVR)
	}
	for i := range k.Also {
		group := k.Resource.Group
		if k.Also[i].Group != "" {
			group = k.Also[i].Group
		}
		out = append(out, schema.GroupVersionResource{Group: group, Version: k.Also[i].Version, Resource: gvr.Resource})
	}
	return slices.Clip(out)
}

// KindFor implements runtime.EquivalentResourceMapper.
func (o Objects) KindFor(gvr schema.GroupVersionResource, subresource string) schema.GroupVersionKind {
	k := o.table().Lookup(gvr.Group, gvr.Version, gvr.Resource)
	switch {
	case k == nil || !has(k, subresource):
		return schema.GroupVersionKind{}
	case subresource == "scale":
		return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	}
	s := k.Subresource(subresource)
	if s == nil || s.Update != nil || s.Kind == "" {
		return k.GVK
	}
	out := schema.GroupVersionKind{Group: s.Group, Version: s.Version, Kind: s.Kind}
	if s.Version == "" {
		out.Group, out.Version = k.GVK.Group, k.GVK.Version
	}
	return out
}

func has(k *served.Kind, subresource string) bool {
	switch subresource {
	case "":
		return true
	case "status":
		return k.Status != nil
	case "scale":
		return k.Scale != nil
	}
	return k.Subresource(subresource) != nil
}
