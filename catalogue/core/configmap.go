package core

import (
	"bytes"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// configMaps describes ConfigMap.
func configMaps() *catalogue.Resource {
	return catalogue.Describe[corev1.ConfigMap, corev1.ConfigMapList](catalogue.Kind[*corev1.ConfigMap]{
		Resource:       api.ConfigMaps.Resource,
		ValidateCreate: validateConfigMap,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateConfigMapUpdate,
		Columns:        configMapColumns,
		Row:            configMapRow,
		Default:        defaultConfigMap,
		Canonicalize:   func(c *corev1.ConfigMap) { dropEmpty(&c.BinaryData) },
		ShortNames:     []string{"cm"},
	})
}

func defaultConfigMap(c *corev1.ConfigMap) {
	if c.Data == nil {
		c.Data = map[string]string{}
	}
}

var configMapColumns = []table.Column{
	table.Name,
	table.String("Data", table.Doc(corev1.ConfigMap{}, "data")),
	table.Age,
}

func configMapRow(c *corev1.ConfigMap, now time.Time) []any {
	return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), table.Since(c.CreationTimestamp, now)}
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	f := &rule.Faults{}
	size := 0
	at := field.NewPath("data")
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		f.Each(at.Key(key), key, utilvalidation.IsConfigMapKey(key))
		if _, ok := c.BinaryData[key]; ok {
			f.Invalid(at.Key(key), key, "duplicate of key present in binaryData")
		}
		size += len(c.Data[key])
	}
	at = field.NewPath("binaryData")
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		f.Each(at.Key(key), key, utilvalidation.IsConfigMapKey(key))
		size += len(c.BinaryData[key])
	}
	if size > corev1.MaxSecretSize {
		f.Add(field.TooLong(field.NewPath(""), "", corev1.MaxSecretSize))
	}
	return f.List
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	f := &rule.Faults{}
	if old.Immutable != nil && *old.Immutable {
		sealed(f, "immutable", c.Immutable != nil && *c.Immutable)
		sealed(f, "data", maps.Equal(c.Data, old.Data))
		sealed(f, "binaryData", sameBytes(c.BinaryData, old.BinaryData))
	}
	f.Add(validateConfigMap(c)...)
	return f.List
}

// sameBytes compares what is immutable: there an empty map is another than none.
func sameBytes(a, b map[string][]byte) bool {
	return (a == nil) == (b == nil) && maps.EqualFunc(a, b, bytes.Equal)
}

// dropEmpty leaves of an empty map what is stored of it: nothing.
func dropEmpty(m *map[string][]byte) {
	if len(*m) == 0 {
		*m = nil
	}
}

// sealed refuses a change of what was declared immutable.
func sealed(f *rule.Faults, name string, same bool) {
	if !same {
		f.Forbidden(field.NewPath(name), "field is immutable when `immutable` is set")
	}
}
