// Package extension joins the admission that users define, webhooks and policies, to upstream's published
// code for it: it converts objects to the versions that they ask for, knows which resources are the same
// under several names, and looks namespaces up.
package extension

import (
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	upstream "k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api"
	"clipper/apiserver/served"
)

// A Client reads objects and knows what is served.
type Client interface {
	api.Client
	Table() *served.Table
}

// Objects makes, defaults and converts objects of everything that is served now. What upstream calls an
// internal object is one of the storage version here, without kind and version if it is of a Go type.
type Objects struct{ table func() *served.Table }

var _ upstream.ObjectInterfaces = Objects{}

// NewObjects returns the Objects of what c serves.
func NewObjects(c Client) Objects { return Objects{c.Table} }

// GetObjectCreater implements upstream.ObjectInterfaces, as the next four.
func (o Objects) GetObjectCreater() runtime.ObjectCreater                       { return o }
func (o Objects) GetObjectTyper() runtime.ObjectTyper                           { return o }
func (o Objects) GetObjectDefaulter() runtime.ObjectDefaulter                   { return o }
func (o Objects) GetObjectConvertor() runtime.ObjectConvertor                   { return o }
func (o Objects) GetEquivalentResourceMapper() runtime.EquivalentResourceMapper { return o }

// Kind returns what is served as gvk, or nil.
func (o Objects) Kind(gvk schema.GroupVersionKind) *served.Kind {
	version := o.table().Find(gvk.Group, gvk.Version)
	if version == nil {
		return nil
	}
	for _, k := range version.Kinds {
		if k.GVK.Kind == gvk.Kind {
			return k
		}
	}
	return nil
}

// New implements runtime.ObjectCreater.
func (o Objects) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	var out runtime.Object
	if k := o.Kind(gvk); k != nil {
		out = k.Empty()
	} else {
		var err error
		if out, err = scheme.Scheme.New(gvk); err != nil { // the body of a subresource
			return nil, err
		}
	}
	out.GetObjectKind().SetGroupVersionKind(gvk)
	return out, nil
}

// ObjectKinds implements runtime.ObjectTyper.
func (o Objects) ObjectKinds(obj runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	if gvk := obj.GetObjectKind().GroupVersionKind(); !gvk.Empty() {
		return []schema.GroupVersionKind{gvk}, false, nil
	}
	return scheme.Scheme.ObjectKinds(obj)
}

// Recognizes implements runtime.ObjectTyper.
func (o Objects) Recognizes(gvk schema.GroupVersionKind) bool {
	return o.Kind(gvk) != nil || scheme.Scheme.Recognizes(gvk)
}

// Default implements runtime.ObjectDefaulter for objects that carry their version.
func (o Objects) Default(in runtime.Object) {
	k := o.Kind(in.GetObjectKind().GroupVersionKind())
	if k == nil {
		return
	}
	switch obj := in.(api.Object); {
	case k.Version == nil && k.Default != nil:
		k.Default(obj)
	case k.Version != nil && k.Version.Default != nil:
		k.Version.Default(obj)
	}
}

// Convert implements runtime.ObjectConvertor: of two objects, the one without kind and version is of the
// storage version. They may share what they refer to afterwards.
func (o Objects) Convert(in, out, _ any) error {
	dst := out.(runtime.Object)
	to := dst.GetObjectKind().GroupVersionKind()
	converted := in.(runtime.Object)
	if src, ok := in.(api.Object); ok { // options of streams are of one version alone
		var err error
		if converted, err = o.convert(src, to); err != nil {
			return err
		}
	}
	if u, ok := dst.(*unstructured.Unstructured); ok && reflect.TypeOf(converted) != reflect.TypeOf(dst) {
		content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(converted)
		if err == nil {
			u.Object = content
		}
		return err
	}
	if reflect.TypeOf(converted) != reflect.TypeOf(dst) {
		return fmt.Errorf("convert %T to %s: got a %T", in, to, converted)
	}
	reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(converted).Elem())
	dst.GetObjectKind().SetGroupVersionKind(to)
	return nil
}

func (o Objects) convert(src api.Object, to schema.GroupVersionKind) (out api.Object, err error) {
	if u, ok := src.(*unstructured.Unstructured); ok {
		return o.convertCustom(u, to)
	}
	from := src.GetObjectKind().GroupVersionKind()
	if from == to {
		return src, nil
	}
	out = src
	if k := o.Kind(from); k != nil {
		if out, err = k.ToHub(src); err != nil {
			return nil, err
		}
	}
	if k := o.Kind(to); k != nil {
		return k.FromHub(out)
	}
	return out, nil
}

// convertCustom also brings what a webhook made of an object into the form of its schema.
func (o Objects) convertCustom(src *unstructured.Unstructured, to schema.GroupVersionKind) (api.Object, error) {
	k := o.Kind(to)
	if k == nil || k.Custom == nil {
		return src, nil // what is asked of a stream
	}
	converted, err := k.Custom.Convert([]api.Object{src}, to)
	if err != nil {
		return nil, err
	}
	out := converted[0].DeepCopyObject().(api.Object)
	_, err = k.Prune(out)
	return out, err
}

// ConvertToVersion implements runtime.ObjectConvertor; it also turns an untyped object of a built-in kind
// into one of its Go type.
func (o Objects) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	gvk := in.GetObjectKind().GroupVersionKind()
	gv, ok := target.(schema.GroupVersion)
	if !ok {
		return nil, runtime.NewNotRegisteredErrForTarget("clipper", reflect.TypeOf(in), target)
	}
	if u, ok := in.(*unstructured.Unstructured); ok {
		typed, err := o.New(gvk)
		if err != nil {
			return nil, err
		}
		if _, custom := typed.(*unstructured.Unstructured); !custom {
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, typed); err != nil {
				return nil, err
			}
			in = typed
		}
	}
	if gvk.GroupVersion() == gv {
		return in, nil
	}
	out, err := o.New(gv.WithKind(gvk.Kind))
	if err != nil {
		return nil, err
	}
	return out, o.Convert(in, out, nil)
}

// ConvertFieldLabel implements runtime.ObjectConvertor. Admission selects no fields.
func (o Objects) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}
