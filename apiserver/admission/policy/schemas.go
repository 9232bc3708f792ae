package policy

import (
	"context"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"clipper/apiserver/admission/extension"
	"clipper/openapi"
)

// schemas says how the fields of a kind are merged when a policy applies a configuration to an object.
type schemas struct{ objects extension.Objects }

// GetTypeConverter implements patch.TypeConverterManager. Custom resources bring their own.
func (s schemas) GetTypeConverter(gvk schema.GroupVersionKind) managedfields.TypeConverter {
	k := s.objects.Kind(gvk)
	switch {
	case k != nil && k.Types != nil:
		return k.Types
	case k != nil && k.Custom != nil:
		return nil
	}
	return openapi.TypeConverter()
}

// Run implements patch.TypeConverterManager: what is served is always current.
func (schemas) Run(context.Context) {}
