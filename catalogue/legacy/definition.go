package legacy

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsv1beta1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1beta1"

	"clipper/api"
)

// definition brings a CustomResourceDefinition from v1beta1 to v1. Upstream's server still stores all of them in it,
// for it is shorter, though nobody can ask for it any more.
func definition(obj api.Object) (api.Object, error) {
	old, ok := obj.(*apiextensionsv1beta1.CustomResourceDefinition)
	if !ok {
		return nil, fmt.Errorf("%T is no CustomResourceDefinition of v1beta1", obj)
	}
	apiextensionsv1beta1.SetObjectDefaults_CustomResourceDefinition(old)
	hub, out := &apiextensions.CustomResourceDefinition{}, &apiextensionsv1.CustomResourceDefinition{}
	if err := apiextensionsv1beta1.Convert_v1beta1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(old, hub, nil); err != nil {
		return nil, err
	}
	return out, apiextensionsv1.Convert_apiextensions_CustomResourceDefinition_To_v1_CustomResourceDefinition(hub, out, nil)
}
