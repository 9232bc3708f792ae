package pipeline

import (
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"clipper/api"
)

// applyConfiguration merges a server-side apply's configuration into old; nil creates the object.
func (pa *patch) applyConfiguration(old api.Object) (api.Object, error) {
	config := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal(pa.data, &config.Object); err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
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

// checkDuplicates reports keys that occur twice in the configuration's text; unknown fields have failed
// against the schema before.
func (pa *patch) checkDuplicates() error {
	if !pa.strict() {
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
