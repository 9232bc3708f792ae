package tolerations

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/apiserver/admission/config"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// A Configuration is that of Restriction, kind Configuration of podtolerationrestriction.admission.k8s.io/v1alpha1.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`
	Default         []corev1.Toleration `json:"default,omitempty"`
	Whitelist       []corev1.Toleration `json:"whitelist,omitempty"`
}

// DeepCopyObject implements runtime.Object.
func (c *Configuration) DeepCopyObject() runtime.Object {
	out := &Configuration{TypeMeta: c.TypeMeta}
	for i := range c.Default {
		out.Default = append(out.Default, *c.Default[i].DeepCopy())
	}
	for i := range c.Whitelist {
		out.Whitelist = append(out.Whitelist, *c.Whitelist[i].DeepCopy())
	}
	return out
}

var configurationKind = schema.GroupVersionKind{Group: "podtolerationrestriction.admission.k8s.io", Version: "v1alpha1", Kind: "Configuration"}

func readConfiguration(raw []byte) (*Configuration, error) {
	c := &Configuration{}
	if raw == nil {
		return c, nil
	}
	if err := config.Decode(raw, configurationKind, c); err != nil {
		return nil, err
	}
	at := field.NewPath("podtolerationrestriction")
	faults := &rule.Faults{}
	podspec.Tolerations(faults, c.Default, at.Child("default"))
	podspec.Tolerations(faults, c.Whitelist, at.Child("whitelist"))
	if len(faults.List) > 0 {
		return nil, fmt.Errorf("invalid config: %v", faults.List)
	}
	return c, nil
}
