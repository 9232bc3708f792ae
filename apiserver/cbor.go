package apiserver

import (
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"

	"clipper/store"
)

// decodeCBOR reads body into an object that should be of kind want. Keys that occur twice are no CBOR at all, so
// that strictness is about unknown fields alone.
func (q *request) decodeCBOR(body []byte, into runtime.Object, want schema.GroupVersionKind, validation string) error {
	have, unknown, err := openCBOR(body, into, want, validation != metav1.FieldValidationIgnore)
	switch {
	case have == nil:
		return unrecognized(body, want, err)
	case err != nil && *have != want:
		return checkKind(*have, want)
	case err != nil:
		return cannotHandle(*have, want, err)
	}
	if err := checkKind(*have, want); err != nil {
		return err
	}
	return q.reportUnknown(unknown, *have, want, validation)
}

// openCBOR decodes body into an object, whatever kind it says it is of, which is returned: nil if it cannot be told.
// What the body does not say of its kind is taken from want.
func openCBOR(body []byte, into runtime.Object, want schema.GroupVersionKind, strict bool) (have *schema.GroupVersionKind, unknown []error, err error) {
	only := onlyType{into, want}
	_, have, err = cbor.NewSerializer(only, only, cbor.Strict(strict)).Decode(body, &want, into)
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return have, strict.Errors(), nil
	}
	return have, nil, err
}

// onlyType is a scheme that makes every kind the one object.
type onlyType struct {
	obj runtime.Object
	gvk schema.GroupVersionKind
}

func (o onlyType) New(schema.GroupVersionKind) (runtime.Object, error) { return o.obj, nil }
func (o onlyType) Recognizes(schema.GroupVersionKind) bool             { return true }
func (o onlyType) ObjectKinds(runtime.Object) ([]schema.GroupVersionKind, bool, error) {
	return []schema.GroupVersionKind{o.gvk}, false, nil
}

// decodeCustomCBOR reads the content of a custom resource.
func decodeCustomCBOR(body []byte, want schema.GroupVersionKind) (map[string]any, error) {
	into := &unstructured.Unstructured{}
	_, have, err := cbor.NewSerializer(nil, nil).Decode(body, nil, into)
	switch {
	case err == nil:
		return into.Object, nil
	case have == nil || have.Kind == "" || have.Version == "":
		return nil, unrecognized(body, want, err)
	}
	return nil, cannotHandle(*have, want, err)
}

// writeCBORList answers with a list. As in JSON, items of Go types do not repeat their kind.
func (q *request) writeCBORList(m media, items []*store.Item, meta metav1.ListMeta) {
	parts, err := q.encodeItems(items, formatCBOR)
	if err != nil {
		q.fail(err)
		return
	}
	var shown any = meta
	if q.kind.Custom != nil {
		shown = customListMeta(meta)
	}
	body, err := q.listKind().CBORList(shown, wireKind(q.kind.GVK), parts)
	if err != nil {
		q.fail(err)
		return
	}
	q.writeBody(http.StatusOK, m, body)
}
