package pipeline

import (
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// A WatchCache says of which resources upstream's server would have a watch cache. Ours are all in memory; what clients see
// of it is that a list of any state (resourceVersion=0) comes whole where there is a cache, and in pages where there is none.
type WatchCache struct {
	Off       bool // there is none of anything
	NoDefault bool // there is none of what is not named
	// Named are the resources that were named, with whether there is one.
	Named map[schema.GroupResource]bool
}

func (w *WatchCache) has(r api.Resource) bool {
	if w.Off {
		return false
	}
	if has, ok := w.Named[r.GroupResource()]; ok {
		return has
	}
	return !w.NoDefault && r != api.CoreEvents.Resource
}
