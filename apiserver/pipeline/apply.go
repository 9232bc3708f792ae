package pipeline

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	cbor "k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"

	"clipper/api"
	"clipper/apiserver/yamltext"
)

// applyConfiguration merges a server-side apply's configuration into old; nil creates the object.
func (pa *patch) applyConfiguration(ctx context.Context, old api.Object) (api.Object, error) {
	config, err := pa.configuration(ctx)
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
func (pa *patch) configuration(ctx context.Context) (*unstructured.Unstructured, error) {
	read := pa.readYAML
	if pa.patchType == types.ApplyCBORPatchType {
		read = func(into *map[string]any) error { return cbor.Unmarshal(pa.data, into) }
	} else {
		done, err := yamltext.Turn(ctx, len(pa.data))
		if err != nil {
			return nil, err
		}
		defer done()
	}
	config := &unstructured.Unstructured{Object: map[string]any{}}
	if err := read(&config.Object); err != nil { // in upstream's words, also of CBOR
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	return config, nil
}

// readYAML reads the text once if it says nothing twice.
func (pa *patch) readYAML(into *map[string]any) error {
	if pa.duplicates = yaml.UnmarshalStrict(pa.data, into); pa.duplicates == nil {
		return nil
	}
	*into = map[string]any{}
	return yaml.Unmarshal(pa.data, into)
}

// checkDuplicates reports keys that occur twice in the configuration's text; unknown fields have failed
// against the schema before.
func (pa *patch) checkDuplicates() error {
	err := pa.duplicates // nil of CBOR: what has keys twice is none
	switch {
	case err == nil || !pa.strict():
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
