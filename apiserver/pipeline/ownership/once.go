package ownership

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// maxGiven is how many managers a client may say that an object has: the library goes through all that changes once for
// each of them.
const maxGiven = 1000

// isCrowd says whether a client names more managers than anybody has, and more than are known already.
func isCrowd(given, known []metav1.ManagedFieldsEntry) bool {
	return len(given) > maxGiven && len(given) > len(known)
}

// A once converts for a single write, and nothing twice: the library has the whole object converted to the version of
// each of its managers, over and over, and once more for each to find that it has that version already.
type once struct {
	managedfields.TypeConverter
	runtime.ObjectConvertor

	objects   map[*typed.TypedValue]runtime.Object
	converted map[conversion]conversionResult
	typed     map[runtime.Object]*typed.TypedValue // of what was converted; nil until somebody asks
}

type conversion struct {
	in runtime.Object
	to schema.GroupVersion
}

type conversionResult struct {
	out runtime.Object
	err error
}

func newOnce(types managedfields.TypeConverter, converter runtime.ObjectConvertor) *once {
	return &once{
		TypeConverter: types, ObjectConvertor: converter,
		objects:   map[*typed.TypedValue]runtime.Object{},
		converted: map[conversion]conversionResult{},
		typed:     map[runtime.Object]*typed.TypedValue{},
	}
}

// TypedToObject implements managedfields.TypeConverter.
func (o *once) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	if obj, ok := o.objects[v]; ok {
		return obj, nil
	}
	obj, err := o.TypeConverter.TypedToObject(v)
	if err == nil {
		o.objects[v] = obj
	}
	return obj, err
}

// ObjectToTyped implements managedfields.TypeConverter. What is not a result of ours may still change.
func (o *once) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	known, ours := o.typed[obj]
	if known != nil && len(options) == 0 {
		return known, nil
	}
	v, err := o.TypeConverter.ObjectToTyped(obj, options...)
	if err == nil && ours && len(options) == 0 {
		o.typed[obj] = v
	}
	return v, err
}

// ConvertToVersion implements runtime.ObjectConvertor. That a version is not known is remembered as well.
func (o *once) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	version, ok := to.(schema.GroupVersion)
	if !ok {
		return o.ObjectConvertor.ConvertToVersion(in, to)
	}
	key := conversion{in, version}
	res, ok := o.converted[key]
	if !ok {
		res.out, res.err = o.ObjectConvertor.ConvertToVersion(in, to)
		o.converted[key] = res
		if res.err == nil {
			o.typed[res.out] = nil
		}
	}
	return res.out, res.err
}
