// Package codec encodes objects for the store's log in the form that Kubernetes itself writes: protobuf
// in its "k8s\0" envelope for built-in kinds, JSON for custom resources, what describes and registers these, and kinds
// without protobuf.
package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	kjson "sigs.k8s.io/json"

	"clipper/api"
	"clipper/api/envelope"
	"clipper/api/packed"
	"clipper/store"
)

// New returns the codec for the kinds of scheme. Decoded objects of Go types carry no apiVersion and kind,
// like all stored ones: the type says it.
func New(scheme *runtime.Scheme) store.Codec { return NewUpgrading(scheme, nil) }

// An Upgrade turns an object that somebody stored, long ago perhaps, into what would be stored now: it converts it to
// the present storage version and fills in the defaults of fields that did not exist then. It may change obj.
type Upgrade = func(obj api.Object) (api.Object, error)

// NewUpgrading is New for values that others have written. upgrades are by the kind that is found.
func NewUpgrading(scheme *runtime.Scheme, upgrades map[schema.GroupVersionKind]Upgrade) store.Codec {
	c := &codec{scheme: scheme, upgrades: upgrades}
	return store.Codec{
		Encode: func(_ store.Key, obj api.Object) ([]byte, error) { return c.encode(obj) },
		Decode: func(_ store.Key, data []byte) (api.Object, error) {
			obj, err := c.decode(data)
			if err != nil {
				return nil, err
			}
			return packed.Pack(obj), nil
		},
	}
}

// InCBOR returns c for custom resources in CBOR, as upstream's server with the feature gate CBORServingAndStorage writes
// them. Every codec reads both.
func InCBOR(c store.Codec) store.Codec {
	plain := c.Encode
	c.Encode = func(k store.Key, obj api.Object) ([]byte, error) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return plain(k, obj)
		}
		var out bytes.Buffer
		err := cborSerializer.Encode(u, &out)
		return out.Bytes(), err
	}
	return c
}

// InJSON returns c, a codec for the kinds of scheme, for all objects in JSON. Every codec reads both.
func InJSON(scheme *runtime.Scheme, c store.Codec) store.Codec {
	form := &codec{scheme: scheme}
	c.Encode = func(_ store.Key, obj api.Object) ([]byte, error) {
		if data, ok, err := form.encodeText(obj); ok {
			return data, err
		}
		gvk, err := form.kindOf(obj)
		if err != nil {
			return nil, err
		}
		return encodeJSON(obj, gvk)
	}
	return c
}

type codec struct {
	scheme   *runtime.Scheme
	upgrades map[schema.GroupVersionKind]Upgrade
	heads    sync.Map // reflect.Type → envelope.Head
}

// A message is what the types of k8s.io/api implement.
type message interface {
	envelope.Message
	Unmarshal([]byte) error
}

func (c *codec) encode(obj api.Object) ([]byte, error) {
	if data, ok, err := c.encodeText(obj); ok {
		return data, err
	}
	if m, ok := obj.(message); ok {
		head, err := c.head(obj)
		if err != nil {
			return nil, err
		}
		return head.Marshal(m)
	}
	gvk, err := c.kindOf(obj)
	if err != nil {
		return nil, err
	}
	return encodeJSON(obj, gvk)
}

// encodeText writes the kinds that upstream stores in JSON whatever it is told; ok is false for all others.
func (c *codec) encodeText(obj api.Object) (data []byte, ok bool, err error) {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		data, err = o.MarshalJSON()
	case *apiextensionsv1.CustomResourceDefinition:
		data, err = encodeDefinition(o)
	case *apiregistrationv1.APIService:
		data, err = encodeJSON(o, apiregistrationv1.SchemeGroupVersion.WithKind("APIService"))
	default:
		return nil, false, nil
	}
	return data, true, err
}

// head returns the envelope's head for obj. Few objects say themselves what they are.
func (c *codec) head(obj api.Object) (envelope.Head, error) {
	t := reflect.TypeOf(obj)
	unnamed := obj.GetObjectKind().GroupVersionKind().Kind == ""
	if unnamed {
		if h, ok := c.heads.Load(t); ok {
			return h.(envelope.Head), nil
		}
	}
	gvk, err := c.kindOf(obj)
	if err != nil {
		return nil, err
	}
	h := envelope.NewHead(gvk)
	if unnamed {
		c.heads.Store(t, h)
	}
	return h, nil
}

func encodeJSON(obj api.Object, gvk schema.GroupVersionKind) ([]byte, error) {
	if obj.GetObjectKind().GroupVersionKind() != gvk {
		obj = obj.DeepCopyObject().(api.Object)
		obj.GetObjectKind().SetGroupVersionKind(gvk)
	}
	return json.Marshal(obj)
}

func (c *codec) kindOf(obj api.Object) (schema.GroupVersionKind, error) {
	if gvk := obj.GetObjectKind().GroupVersionKind(); gvk.Kind != "" {
		return gvk, nil
	}
	kinds, _, err := c.scheme.ObjectKinds(obj)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	return kinds[0], nil
}

func (c *codec) decode(data []byte) (api.Object, error) {
	if bytes.HasPrefix(data, envelope.Magic) {
		return c.decodeProtobuf(data)
	}
	if ok, _, _ := cborSerializer.RecognizesData(data); ok {
		return decodeCBOR(data)
	}
	return c.decodeJSON(data)
}

// decodeJSON reads a custom resource, as nearly all that is in JSON is: so it is read as one first. To look what it is
// before would be to read it twice.
func (c *codec) decodeJSON(data []byte) (api.Object, error) {
	if d, ok := decodeDefinition(data); ok {
		return c.upgrade(apiextensionsv1beta1.SchemeGroupVersion.WithKind(d.Kind), d)
	}
	u := &unstructured.Unstructured{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &u.Object); err != nil {
		return nil, fmt.Errorf("value is neither protobuf nor JSON: %w", err)
	}
	gvk := u.GroupVersionKind()
	if gvk.Kind == "" || gvk.Version == "" {
		return nil, errors.New("value has no apiVersion and kind")
	}
	if !c.scheme.Recognizes(gvk) {
		return u, nil
	}
	obj, err := c.new(gvk)
	if err != nil {
		return nil, err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, obj); err != nil {
		return nil, fmt.Errorf("decode %s from JSON: %w", gvk, err)
	}
	obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return c.upgrade(gvk, obj)
}

// cborSerializer reads and writes what an upstream server with the feature gate CBORServingAndStorage stores.
var cborSerializer = cbor.NewSerializer(nil, nil)

// decodeCBOR reads a custom resource: upstream stores nothing else in CBOR.
func decodeCBOR(data []byte) (api.Object, error) {
	u := &unstructured.Unstructured{}
	if _, _, err := cborSerializer.Decode(data, nil, u); err != nil {
		return nil, fmt.Errorf("decode CBOR: %w", err)
	}
	return u, nil
}

func (c *codec) decodeProtobuf(data []byte) (api.Object, error) {
	opened, err := envelope.Open(data)
	if err != nil {
		return nil, fmt.Errorf("decode envelope: %w", err)
	}
	gvk := schema.FromAPIVersionAndKind(opened.APIVersion, opened.Kind)
	obj, err := c.new(gvk)
	if err != nil {
		return nil, err
	}
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("%s has no protobuf form", gvk)
	}
	if err := m.Unmarshal(opened.Raw); err != nil {
		return nil, fmt.Errorf("decode %s: %w", gvk, err)
	}
	return c.upgrade(gvk, obj)
}

func (c *codec) upgrade(gvk schema.GroupVersionKind, obj api.Object) (api.Object, error) {
	if old, ok := obj.(*apiextensionsv1beta1.CustomResourceDefinition); ok {
		var err error
		if obj, err = currentDefinition(old); err != nil {
			return nil, fmt.Errorf("convert %s: %w", gvk, err)
		}
		gvk.Version = apiextensionsv1.SchemeGroupVersion.Version
	}
	up := c.upgrades[gvk]
	if up == nil {
		return obj, nil
	}
	out, err := up(obj)
	if err != nil {
		return nil, fmt.Errorf("bring %s up to date: %w", gvk, err)
	}
	return out, nil
}

func (c *codec) new(gvk schema.GroupVersionKind) (api.Object, error) {
	o, err := c.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	obj, ok := o.(api.Object)
	if !ok {
		return nil, fmt.Errorf("%s is not a kind with metadata", gvk)
	}
	return obj, nil
}
