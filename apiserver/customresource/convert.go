package customresource

import (
	"errors"
	"fmt"
	"maps"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/conversion"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
	"clipper/apiserver/resolve"
)

// A convert makes objects of another version of the same kind, in order. The objects it is given stay as
// they are; those that are of the wanted version come back themselves.
type convert struct {
	all    func(in []api.Object, to schema.GroupVersionKind) ([]api.Object, error)
	remote bool // a webhook does it
}

func (c convert) one(in api.Object, to schema.GroupVersionKind) (api.Object, error) {
	out, err := c.all([]api.Object{in}, to)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// converters makes a definition's convert. What webhooks need is prepared when the first one is seen.
type converters struct {
	factory func() (*conversion.CRConverterFactory, error)
}

func newConverters(c api.Client, self *resolve.Loopback) *converters {
	return &converters{factory: sync.OnceValues(func() (*conversion.CRConverterFactory, error) {
		return conversion.NewCRConverterFactory(resolve.New(c, self), self.Identities)
	})}
}

func (c *converters) of(crd *apiextensionsv1.CustomResourceDefinition) (convert, error) {
	if crd.Spec.Conversion == nil || crd.Spec.Conversion.Strategy != apiextensionsv1.WebhookConverter {
		return convert{all: relabel}, nil
	}
	factory, err := c.factory()
	if err != nil {
		return convert{}, err
	}
	safe, _, err := factory.NewConverter(crd)
	if err != nil {
		return convert{}, err
	}
	list := crd.Status.AcceptedNames.ListKind
	return convert{remote: true, all: func(in []api.Object, to schema.GroupVersionKind) ([]api.Object, error) {
		if len(in) == 1 {
			out, err := convertObject(safe, in[0], to)
			return []api.Object{out}, err
		}
		return convertList(safe, in, to, list)
	}}, nil
}

// relabel converts between versions of the same shape (strategy None).
func relabel(in []api.Object, to schema.GroupVersionKind) ([]api.Object, error) {
	out := make([]api.Object, len(in))
	for i, o := range in {
		u, ok := o.(*unstructured.Unstructured)
		if !ok {
			return nil, errors.New("a custom resource is not unstructured")
		}
		if u.GroupVersionKind() != to {
			u = &unstructured.Unstructured{Object: maps.Clone(u.Object)}
			u.SetGroupVersionKind(to)
		}
		out[i] = u
	}
	return out, nil
}

func convertObject(c runtime.ObjectConvertor, in api.Object, to schema.GroupVersionKind) (api.Object, error) {
	if in.GetObjectKind().GroupVersionKind() == to {
		return in, nil
	}
	out, err := c.ConvertToVersion(in, to.GroupVersion())
	if err != nil {
		return nil, err
	}
	return out.(*unstructured.Unstructured), nil
}

// convertList sends all that is of another version in one review.
func convertList(c runtime.ObjectConvertor, in []api.Object, to schema.GroupVersionKind, kind string) ([]api.Object, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(to.GroupVersion().WithKind(kind))
	for _, o := range in {
		list.Items = append(list.Items, *o.(*unstructured.Unstructured))
	}
	converted, err := c.ConvertToVersion(list, to.GroupVersion())
	if err != nil {
		return nil, err
	}
	items := converted.(*unstructured.UnstructuredList).Items
	if len(items) != len(in) {
		return nil, fmt.Errorf("conversion of %d objects made %d", len(in), len(items))
	}
	out := make([]api.Object, len(in))
	for i := range items {
		out[i] = &items[i]
	}
	return out, nil
}
