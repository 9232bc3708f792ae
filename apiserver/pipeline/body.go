package pipeline

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"clipper/api"
	"clipper/apiserver/pipeline/ownership"
	"clipper/catalogue"
)

// body describes the body of the request's subresource; nil where nobody needs to know.
func (w *write) body() *catalogue.Subresource {
	if w.req.Subresource == "" {
		return nil
	}
	if k := w.p.kind(w.req); k != nil {
		return k.Subresource(w.req.Subresource)
	}
	return nil
}

// defaultBody fills in what a body leaves out.
func defaultBody(sub *catalogue.Subresource, body api.Object) {
	if sub != nil && sub.Default != nil {
		sub.Default(body)
	}
}

// ownBody records in a body that is the answer, too, who has written what of it.
func (w *write) ownBody(sub *catalogue.Subresource, body api.Object) {
	if sub == nil || !sub.Answered {
		return
	}
	gvk := schema.GroupVersionKind{Group: sub.Group, Version: sub.Version, Kind: sub.Kind}
	m, err := w.p.bodyManager(managerKey{w.req.Resource, gvk, sub.Name}, sub)
	if err != nil {
		body.SetManagedFields(nil)
		return
	}
	body.GetObjectKind().SetGroupVersionKind(gvk)
	m.Update(nil, body, w.manager)
}

// bodyManager returns the field manager of the bodies of a subresource.
func (p *Pipeline) bodyManager(key managerKey, sub *catalogue.Subresource) (*ownership.Manager, error) {
	if m, ok := p.managers.Load(key); ok {
		return m.(*ownership.Manager), nil
	}
	c := bodies{sub.New}
	library := func(types managedfields.TypeConverter, convertor runtime.ObjectConvertor) (*managedfields.FieldManager, error) {
		return managedfields.NewDefaultFieldManager(types, convertor, c, c, key.kind, key.kind.GroupVersion(), key.subresource, nil)
	}
	made, err := p.owners.Of(library, p.types, c, sub.New().(api.Object), key.kind, key.kind, key.subresource)
	if err != nil {
		return nil, err
	}
	m, _ := p.managers.LoadOrStore(key, made)
	return m.(*ownership.Manager), nil
}

// bodies are what a field manager needs of a kind that has one version and no defaults left to set.
type bodies struct{ make func() runtime.Object }

// New implements runtime.ObjectCreater.
func (b bodies) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	obj := b.make()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Default implements runtime.ObjectDefaulter.
func (bodies) Default(runtime.Object) {}

// ConvertToVersion implements runtime.ObjectConvertor.
func (bodies) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	have := in.GetObjectKind().GroupVersionKind()
	if want, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{have}); !ok || want != have {
		return nil, runtime.NewNotRegisteredErrForTarget("clipper", reflect.TypeOf(in), target)
	}
	return in, nil
}

// Convert implements runtime.ObjectConvertor; the field manager has no use for it.
func (b bodies) Convert(in, out, context any) error { return converter{}.Convert(in, out, context) }

// ConvertFieldLabel implements runtime.ObjectConvertor; the field manager has no use for it.
func (b bodies) ConvertFieldLabel(gvk schema.GroupVersionKind, label, value string) (string, string, error) {
	return converter{}.ConvertFieldLabel(gvk, label, value)
}
