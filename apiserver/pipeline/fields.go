package pipeline

import (
	"bytes"
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"clipper/api"
	"clipper/apiserver/pipeline/ownership"
	"clipper/apiserver/served"
	"clipper/catalogue"
)

// updateFields records in next.managedFields what the writer changed relative to old (nil: everything).
// Like upstream it never fails a request: what cannot be tracked is left untracked.
func (w *write) updateFields(old, next api.Object) {
	k := w.p.kind(w.req)
	if k == nil {
		return
	}
	next.GetObjectKind().SetGroupVersionKind(w.req.Resource.GVK())
	m, err := w.p.manager(k, w.req.Subresource)
	if err != nil {
		next.SetManagedFields(nil)
		return
	}
	m.Update(old, next, w.manager)
}

// kind returns the served version the request speaks.
func (p *Pipeline) kind(req *Request) *served.Kind {
	if req.Kind != nil {
		return req.Kind
	}
	return p.served.Table().Storage(req.Resource)
}

// A managerKey outlives the table that is served: descriptions of built-in kinds do too.
type managerKey struct {
	resource    *catalogue.Resource
	kind        schema.GroupVersionKind
	subresource string
}

// Forget drops what is kept for resources that are not in the served table any more.
func (p *Pipeline) Forget() {
	known := map[*catalogue.Resource]bool{}
	for _, r := range p.served.Table().Resources {
		known[r] = true
	}
	p.managers.Range(func(key, _ any) bool {
		if !known[key.(managerKey).resource] {
			p.managers.Delete(key)
		}
		return true
	})
}

// manager returns the field manager of a served version and subresource.
func (p *Pipeline) manager(k *served.Kind, subresource string) (*ownership.Manager, error) {
	key := managerKey{k.Resource, k.GVK, subresource}
	if m, ok := p.managers.Load(key); ok {
		return m.(*ownership.Manager), nil
	}
	c := converter{p: p, resource: k.Resource.Resource}
	newManager := managedfields.NewDefaultFieldManager
	if _, ok := k.New().(runtime.Unstructured); ok {
		newManager = managedfields.NewDefaultCRDFieldManager
	}
	types := p.types
	if k.Types != nil {
		types = k.Types
	}
	library := func(types managedfields.TypeConverter, convertor runtime.ObjectConvertor) (*managedfields.FieldManager, error) {
		return newManager(types, convertor, c, c, k.GVK, k.Resource.GVK().GroupVersion(), subresource, resetFields(k, subresource))
	}
	made, err := p.owners.Of(library, types, c, k.New(), k.Resource.GVK(), k.GVK, subresource)
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", k.GVR, err)
	}
	m, _ := p.managers.LoadOrStore(key, made)
	return m.(*ownership.Manager), nil
}

// A converter lets the field manager make, default and convert objects of one resource.
type converter struct {
	p        *Pipeline
	resource api.Resource
}

func (c converter) kind(gv schema.GroupVersion) (*served.Kind, error) {
	k := c.p.served.Table().Known(gv.Group, gv.Version, c.resource.Name)
	if k == nil || k.Resource.Resource != c.resource {
		return nil, runtime.NewNotRegisteredErrForKind("clipper", gv.WithKind(c.resource.Kind))
	}
	return k, nil
}

// New implements runtime.ObjectCreater.
func (c converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	k, err := c.kind(gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	obj := k.Empty()
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return obj, nil
}

// Default implements runtime.ObjectDefaulter.
func (c converter) Default(in runtime.Object) {
	k, err := c.kind(in.GetObjectKind().GroupVersionKind().GroupVersion())
	if err != nil {
		return
	}
	switch obj := in.(api.Object); {
	case k.Version == nil && k.Default != nil:
		k.Default(obj)
	case k.Version != nil && k.Version.Default != nil:
		k.Version.Default(obj)
	}
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	gv, ok := target.(schema.GroupVersion)
	if !ok {
		return nil, runtime.NewNotRegisteredErrForTarget("clipper", reflect.TypeOf(in), target)
	}
	want := gv.WithKind(gvk.Kind)
	from, err := c.kind(gvk.GroupVersion())
	if err != nil {
		return nil, err
	}
	obj, err := c.typed(from, in)
	if err != nil || want == gvk {
		return obj, err
	}
	to, err := c.kind(want.GroupVersion())
	if err != nil {
		return nil, err
	}
	if from.Version != nil {
		if obj, err = from.Version.ToHub(obj); err != nil {
			return nil, err
		}
	}
	if to.Version != nil {
		if obj, err = to.Version.FromHub(obj); err != nil {
			return nil, err
		}
	}
	return ownership.WithKind(obj, to.GVK), nil
}

// typed turns the untyped result of an apply into the kind's Go type.
func (c converter) typed(k *served.Kind, in runtime.Object) (api.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in.(api.Object), nil
	}
	obj := k.Empty()
	if _, ok := obj.(*unstructured.Unstructured); ok {
		return u, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, fmt.Errorf("unable to convert unstructured object to %v: %w", k.GVK, err)
	}
	return obj, nil
}

// Convert implements runtime.ObjectConvertor; the field manager has no use for it.
func (c converter) Convert(in, out, context any) error {
	return fmt.Errorf("convert %T into %T: not supported", in, out)
}

// ConvertFieldLabel implements runtime.ObjectConvertor; the field manager has no use for it.
func (c converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// unchanged says whether next is what is stored already. A write that would only refresh the times in
// managedFields changes nothing either, as upstream has it.
func unchanged(old, next api.Object) bool {
	mine := next.GetManagedFields()
	if sameFields(old.GetManagedFields(), mine) {
		next.SetManagedFields(old.GetManagedFields())
		defer next.SetManagedFields(mine)
	}
	return equal(old, next)
}

func sameFields(a, b []metav1.ManagedFieldsEntry) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := &a[i], &b[i]
		if x.Manager != y.Manager || x.Operation != y.Operation || x.APIVersion != y.APIVersion ||
			x.FieldsType != y.FieldsType || x.Subresource != y.Subresource ||
			(x.FieldsV1 == nil) != (y.FieldsV1 == nil) {
			return false
		}
		if x.FieldsV1 != nil && !bytes.Equal(x.FieldsV1.Raw, y.FieldsV1.Raw) {
			return false
		}
	}
	return true
}

// A message is a Go type with a protobuf form.
type message interface {
	Size() int
	Marshal() ([]byte, error)
}

// equal compares objects by what would be stored of them.
func equal(a, b api.Object) bool {
	x, ok1 := a.(message)
	y, ok2 := b.(message)
	if !ok1 || !ok2 {
		return reflect.DeepEqual(a, b)
	}
	if x.Size() != y.Size() {
		return false
	}
	p, err1 := x.Marshal()
	q, err2 := y.Marshal()
	return err1 == nil && err2 == nil && bytes.Equal(p, q)
}
