package codec

import (
	"bytes"
	"encoding/json"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kjson "sigs.k8s.io/json"

	"clipper/api/packed"
)

// definitionHead begins a stored definition: upstream's server writes them in v1beta1, though it serves that no more,
// for it says once what all versions have in common.
var definitionHead = []byte(`{"kind":"CustomResourceDefinition","apiVersion":"` + apiextensionsv1beta1.SchemeGroupVersion.String() + `",`)

// encodeDefinition writes d as upstream's server does. Its schemas stay packed meanwhile.
func encodeDefinition(d *apiextensionsv1.CustomResourceDefinition) ([]byte, error) {
	cut, texts, err := packed.Cut(d)
	if err != nil {
		return nil, err
	}
	hub, out := &apiextensions.CustomResourceDefinition{}, &apiextensionsv1beta1.CustomResourceDefinition{}
	if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(cut, hub, nil); err != nil {
		return nil, err
	}
	if err := apiextensionsv1beta1.Convert_apiextensions_CustomResourceDefinition_To_v1beta1_CustomResourceDefinition(hub, out, nil); err != nil {
		return nil, err
	}
	out.SetGroupVersionKind(apiextensionsv1beta1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	data, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return texts.Insert(data)
}

// A storedDefinition is a definition of v1beta1 whose schemas stay text: of hundreds, few are looked at soon.
type storedDefinition struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              storedSpec                                          `json:"spec"`
	Status            apiextensionsv1beta1.CustomResourceDefinitionStatus `json:"status,omitempty"`
}

// Fields hide those of the same name that are embedded.
type (
	storedSpec struct {
		apiextensionsv1beta1.CustomResourceDefinitionSpec `json:",inline"`
		Validation                                        *storedSchema   `json:"validation,omitempty"`
		Versions                                          []storedVersion `json:"versions,omitempty"`
	}
	storedVersion struct {
		apiextensionsv1beta1.CustomResourceDefinitionVersion `json:",inline"`
		Schema                                               *storedSchema `json:"schema,omitempty"`
	}
	storedSchema struct {
		OpenAPIV3Schema json.RawMessage `json:"openAPIV3Schema,omitempty"`
	}
)

// decodeDefinition reads what encodeDefinition, or upstream's server, wrote, without opening the schemas. ok is false for
// anything else.
func decodeDefinition(data []byte) (obj *apiextensionsv1beta1.CustomResourceDefinition, ok bool) {
	stored := &storedDefinition{}
	if !bytes.HasPrefix(data, definitionHead) || kjson.UnmarshalCaseSensitivePreserveInts(data, stored) != nil {
		return nil, false
	}
	obj = &apiextensionsv1beta1.CustomResourceDefinition{
		TypeMeta: stored.TypeMeta, ObjectMeta: stored.ObjectMeta, Spec: stored.Spec.CustomResourceDefinitionSpec, Status: stored.Status,
	}
	obj.Spec.Validation, ok = stored.Spec.Validation.packed()
	for _, v := range stored.Spec.Versions {
		version, sound := v.CustomResourceDefinitionVersion, false
		version.Schema, sound = v.Schema.packed()
		obj.Spec.Versions, ok = append(obj.Spec.Versions, version), ok && sound
	}
	return obj, ok
}

// packed is s as definitions have it in memory, but in v1beta1, for it is on its way. ok is false for what is no schema.
func (s *storedSchema) packed() (out *apiextensionsv1beta1.CustomResourceValidation, ok bool) {
	if s == nil {
		return nil, true
	}
	out = &apiextensionsv1beta1.CustomResourceValidation{}
	if p := packed.PackText(s.OpenAPIV3Schema); p != nil {
		out.OpenAPIV3Schema = &apiextensionsv1beta1.JSONSchemaProps{ID: p.ID, Description: p.Description}
		return out, packed.IsSchema(s.OpenAPIV3Schema)
	}
	return out, len(s.OpenAPIV3Schema) == 0 || json.Unmarshal(s.OpenAPIV3Schema, &out.OpenAPIV3Schema) == nil
}

// currentDefinition brings what is stored to the version that is served.
func currentDefinition(old *apiextensionsv1beta1.CustomResourceDefinition) (*apiextensionsv1.CustomResourceDefinition, error) {
	apiextensionsv1beta1.SetObjectDefaults_CustomResourceDefinition(old)
	hub, out := &apiextensions.CustomResourceDefinition{}, &apiextensionsv1.CustomResourceDefinition{}
	if err := apiextensionsv1beta1.Convert_v1beta1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(old, hub, nil); err != nil {
		return nil, err
	}
	return out, apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(hub, out, nil)
}
