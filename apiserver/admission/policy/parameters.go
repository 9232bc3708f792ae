package policy

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"clipper/api"
	"clipper/apiserver/served"
)

// parameters are the objects of a kind, in the form in which the library looks for a policy's parameters:
// an informer. Nothing is copied and nothing watched: behind it is the view of the kind.
type parameters struct {
	kind      *served.Kind
	view      api.View
	namespace string // "" for all, and for cluster-scoped kinds
}

// Informer implements informers.GenericInformer. The library only asks whether it is complete.
func (p parameters) Informer() cache.SharedIndexInformer { return complete{} }

type complete struct{ cache.SharedIndexInformer }

func (complete) HasSynced() bool { return true }

// Lister implements informers.GenericInformer.
func (p parameters) Lister() cache.GenericLister { return p }

// ByNamespace implements cache.GenericLister.
func (p parameters) ByNamespace(namespace string) cache.GenericNamespaceLister {
	p.namespace = namespace
	return p
}

// Get implements cache.GenericLister and cache.GenericNamespaceLister.
func (p parameters) Get(name string) (runtime.Object, error) {
	o, ok := p.view.Get(p.namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(p.kind.GVR.GroupResource(), name)
	}
	return p.kind.FromHub(o)
}

// List implements cache.GenericLister and cache.GenericNamespaceLister.
func (p parameters) List(s labels.Selector) (out []runtime.Object, err error) {
	for _, o := range p.view.List(p.namespace) {
		if !s.Matches(labels.Set(o.GetLabels())) {
			continue
		}
		if o, err = p.kind.FromHub(o); err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}
