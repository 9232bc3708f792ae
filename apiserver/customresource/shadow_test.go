package customresource_test

import (
	"context"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestBuiltinVersionsAreNotExtended: a definition adds no kinds to a version that the server has of its own, but
// may add another version to its group.
func TestBuiltinVersionsAreNotExtended(t *testing.T) {
	f := setUp(t)
	version := func(name string) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Storage: name == "v1",
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}
	}
	d := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "foos.networking.k8s.io", Annotations: map[string]string{apiextensionsv1.KubeAPIApprovedAnnotation: "unapproved, a test"}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{Group: "networking.k8s.io", Scope: apiextensionsv1.ClusterScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "foos", Kind: "Foo"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1"), version("v9")}},
	}
	if _, err := f.crds.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	discovery := kubernetes.NewForConfigOrDie(f.s.Config).Discovery()
	served := func(gv string) bool {
		list, err := discovery.ServerResourcesForGroupVersion(gv)
		if err != nil {
			return false
		}
		for _, r := range list.APIResources {
			if strings.HasPrefix(r.Name, "foos") {
				return true
			}
		}
		return false
	}
	f.until("the version of its own is served", func() bool { return served("networking.k8s.io/v9") })
	if served("networking.k8s.io/v1") {
		t.Error("networking.k8s.io/v1 has a custom kind")
	}
}
