package codec

import (
	"bytes"
	"encoding/json"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"

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

// decodeDefinition reads what encodeDefinition, or upstream's server, wrote. ok is false for anything else.
func decodeDefinition(data []byte) (obj *apiextensionsv1beta1.CustomResourceDefinition, ok bool) {
	if !bytes.HasPrefix(data, definitionHead) {
		return nil, false
	}
	obj = &apiextensionsv1beta1.CustomResourceDefinition{}
	return obj, kjson.UnmarshalCaseSensitivePreserveInts(data, obj) == nil
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
