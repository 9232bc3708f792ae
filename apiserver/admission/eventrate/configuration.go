package eventrate

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/apiserver/admission/config"
)

// A Configuration is kind Configuration of eventratelimit.admission.k8s.io/v1alpha1.
type Configuration struct {
	metav1.TypeMeta `json:",inline"`
	Limits          []Limit `json:"limits"`
}

// A Limit lets Burst events through at once and QPS a second in the long run, for each of those that Type tells apart.
type Limit struct {
	Type      LimitType `json:"type"`
	QPS       int32     `json:"qps"`
	Burst     int32     `json:"burst"`
	CacheSize int32     `json:"cacheSize,omitempty"`
}

// A LimitType says for whom a limit is.
type LimitType string

// The types.
const (
	ServerLimit          LimitType = "Server"
	NamespaceLimit       LimitType = "Namespace"
	UserLimit            LimitType = "User"
	SourceAndObjectLimit LimitType = "SourceAndObject"
)

// DeepCopyObject implements runtime.Object.
func (c *Configuration) DeepCopyObject() runtime.Object {
	return &Configuration{c.TypeMeta, slices.Clone(c.Limits)}
}

var configurationKind = schema.GroupVersionKind{Group: "eventratelimit.admission.k8s.io", Version: "v1alpha1", Kind: "Configuration"}

func readConfiguration(raw []byte) (*Configuration, error) {
	c := &Configuration{}
	if raw != nil {
		if err := config.Decode(raw, configurationKind, c); err != nil {
			return nil, err
		}
	}
	return c, c.validate().ToAggregate()
}

func (c *Configuration) validate() (faults field.ErrorList) {
	limits := field.NewPath("limits")
	if len(c.Limits) == 0 {
		faults = append(faults, field.Invalid(limits, c.Limits, "must not be empty"))
	}
	for i, l := range c.Limits {
		at := limits.Index(i)
		if keys[l.Type] == nil {
			faults = append(faults, field.NotSupported(at.Child("type"), l.Type, slices.Sorted(maps.Keys(keys))))
		}
		if l.Burst <= 0 {
			faults = append(faults, field.Invalid(at.Child("burst"), l.Burst, "must be positive"))
		}
		if l.QPS <= 0 {
			faults = append(faults, field.Invalid(at.Child("qps"), l.QPS, "must be positive"))
		}
		if l.Type != ServerLimit && l.CacheSize < 0 {
			faults = append(faults, field.Invalid(at.Child("cacheSize"), l.CacheSize, "must not be negative"))
		}
	}
	return faults
}
