package pipeline

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"clipper/api"
)

// applyConfiguration merges a server-side apply's configuration into old; nil creates the object.
func (pa *patch) applyConfiguration(old api.Object) (api.Object, error) {
	config, err := pa.configuration()
	if err != nil {
		return nil, err
	}
	m, err := pa.w.p.manager(pa.kind, pa.w.req.Subresource)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	merged, err := m.Apply(old, config, pa.w.manager, pa.force)
	if err != nil {
		return nil, err
	}
	if err := pa.checkDuplicates(); err != nil {
		return nil, err
	}
	return merged.(api.Object), nil
}

// configuration reads what is to be applied.
func (pa *patch) configuration() (*unstructured.Unstructured, error) {
	config := &unstructured.Unstructured{Object: map[string]any{}}
	read := func(data []byte, into any) error { return yaml.Unmarshal(data, into) }
	if pa.patchType == types.ApplyCBORPatchType {
		read = cbor.Unmarshal
	}
	if err := read(pa.data, &config.Object); err != nil { // in upstream's words, also of CBOR
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	return config, nil
}

// checkDuplicates reports keys that occur twice in the configuration's text; unknown fields have failed
// against the schema before.
func (pa *patch) checkDuplicates() error {
	if !pa.strict() || pa.patchType == types.ApplyCBORPatchType { // what has keys twice is no CBOR
		return nil
	}
	err := yaml.UnmarshalStrict(pa.data, &map[string]any{})
	switch {
	case err == nil:
		return nil
	case pa.validation == metav1.FieldValidationStrict:
		return apierrors.NewBadRequest(fmt.Sprintf("error strict decoding YAML: %v", err))
	case !pa.warned:
		pa.warned = true
		for _, text := range YAMLWarnings(err.Error()) {
			pa.w.warn(text)
		}
	}
	return nil
}
