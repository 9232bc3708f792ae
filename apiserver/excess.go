package apiserver

import (
	"bytes"
	"errors"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"clipper/api/envelope"
	"clipper/apiserver/extremes"
)

// errTooDeep has the words of JSON's decoder.
var errTooDeep = errors.New("exceeded max depth")

// checkAmounts refuses a body for an object like into whose amounts would cost too much to decode. What is wrong
// with the body otherwise is left to its decoder.
func checkAmounts(f format, body []byte, into runtime.Object) error {
	if !extremes.MayHoldAmount(body) {
		return nil
	}
	found := false
	switch f {
	case formatProtobuf:
		found = extremes.HasMessage(bytes.TrimPrefix(body, envelope.Magic))
	case formatCBOR:
		var v any
		found = cbor.Unmarshal(body, &v) == nil && extremes.HasAmount(reflect.TypeOf(into), v)
	default:
		v, err := plain(f, body)
		found = err == nil && extremes.HasAmount(reflect.TypeOf(into), v)
	}
	if found {
		return resource.ErrFormatWrong
	}
	return nil
}

func plain(f format, body []byte) (any, error) {
	if f == formatYAML {
		var err error
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return nil, err
		}
	}
	return extremes.Decode(body)
}

// checkPatchAmounts is checkAmounts for a patch.
func (q *request) checkPatchAmounts(pt types.PatchType, body []byte) error {
	if q.kind.Custom != nil || !extremes.MayHoldAmount(body) {
		return nil
	}
	var err error
	switch pt {
	case types.JSONPatchType:
		v, decoding := plain(formatJSON, body)
		operations, ok := v.([]any)
		if decoding == nil && ok && extremes.HasAny(operations) { // where an operation leads to is not known yet
			err = resource.ErrFormatWrong
		}
	case types.ApplyYAMLPatchType:
		err = checkAmounts(formatYAML, body, q.kind.Empty())
	case types.ApplyCBORPatchType:
		err = checkAmounts(formatCBOR, body, q.kind.Empty())
	default:
		err = checkAmounts(formatJSON, body, q.kind.Empty())
	}
	if err != nil {
		return apierrors.NewBadRequest("error decoding patch: " + err.Error())
	}
	return nil
}
