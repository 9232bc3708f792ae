package resource

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// fewEnough checks the length of a list. Of a longer one nothing else is said.
func fewEnough(f *rule.Faults, n, most int, at *field.Path) bool {
	if n > most {
		f.Add(field.TooMany(at, n, most))
	}
	return n <= most
}

// unique notes the second one of any key.
func unique[T any, K comparable](f *rule.Faults, list []T, at *field.Path, key func(T) K) {
	seen := rule.Seen[K]{}
	for i, item := range list {
		if k := key(item); seen.Again(k) {
			f.Duplicate(at.Index(i), k)
		}
	}
}

func itself(s string) string { return s }

func poolName(f *rule.Faults, name string, at *field.Path) {
	if !f.Need(at, name) {
		return
	}
	if len(name) > resourcev1.PoolNameMaxLength {
		f.Add(field.TooLong(at, "", resourcev1.PoolNameMaxLength))
	}
	for _, part := range strings.Split(name, "/") {
		f.DNSSubdomain(at, part)
	}
}

// selectors are expressions, which must compile to a condition that is cheap enough.
func selectors(f *rule.Faults, list []resourcev1.DeviceSelector, at *field.Path) {
	if !fewEnough(f, len(list), resourcev1.DeviceSelectorsMaxSize, at) {
		return
	}
	for i, s := range list {
		at := at.Index(i).Child("cel")
		switch {
		case s.CEL == nil:
			f.Required(at, "")
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			f.Add(field.TooLong(at.Child("expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		default:
			expression(f, s.CEL.Expression, at.Child("expression"))
		}
	}
}

func configuration(f *rule.Faults, c *resourcev1.DeviceConfiguration, at *field.Path) {
	at = at.Child("opaque")
	if c.Opaque == nil {
		f.Required(at, "")
		return
	}
	podspec.CSIDriverName(f, c.Opaque.Driver, at.Child("driver"))
	document(f, c.Opaque.Parameters, at.Child("parameters"), resourcev1.OpaqueParametersMaxLength)
}

// document asks for a JSON object.
func document(f *rule.Faults, d runtime.RawExtension, at *field.Path, most int) {
	if len(d.Raw) == 0 {
		f.Required(at, "")
		return
	}
	if len(d.Raw) > most {
		f.Add(field.TooLong(at, "", most))
		return
	}
	var v any
	if err := json.Unmarshal(d.Raw, &v); err != nil {
		f.Invalid(at, "<value omitted>", fmt.Sprintf("error parsing data as JSON: %v", err))
	} else if v == nil {
		f.Required(at, "")
	} else if _, ok := v.(map[string]any); !ok {
		f.Invalid(at, "<value omitted>", "must be a valid JSON object")
	}
}

func toleration(f *rule.Faults, t *resourcev1.DeviceToleration, at *field.Path) {
	if t.Key != "" {
		f.LabelName(at.Child("key"), t.Key)
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			f.Invalid(at.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
	case resourcev1.DeviceTolerationOpEqual:
		f.Each(at.Child("value"), t.Value, validation.IsValidLabelValue(t.Value))
	default:
		rule.Choice(f, at.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)
	}
	if t.Effect != "" {
		rule.OneOf(f, at.Child("effect"), t.Effect, taintEffects...)
	}
}

var taintEffects = []resourcev1.DeviceTaintEffect{
	resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone,
}

// bindingConditions come in pairs of lists: what to wait for, and what ends the wait in vain.
func bindingConditions(f *rule.Faults, good, bad []string, at *field.Path) {
	goodPath, badPath := at.Child("bindingConditions"), at.Child("bindingFailureConditions")
	for _, part := range []struct {
		list []string
		most int
		at   *field.Path
	}{{good, resourcev1.BindingConditionsMaxSize, goodPath}, {bad, resourcev1.BindingFailureConditionsMaxSize, badPath}} {
		if fewEnough(f, len(part.list), part.most, part.at) {
			for i, name := range part.list {
				f.LabelName(part.at.Index(i), name)
			}
		}
		unique(f, part.list, part.at, itself)
	}
	for i, name := range bad {
		if slices.Contains(good, name) {
			f.Invalid(badPath.Index(i), name, "bindingFailureConditions must not overlap with bindingConditions")
		}
	}
	if len(good) == 0 && len(bad) > 0 {
		f.Invalid(goodPath, good, "bindingConditions are required to use bindingFailureConditions")
	}
	if len(bad) == 0 && len(good) > 0 {
		f.Invalid(badPath, bad, "bindingFailureConditions are required to use bindingConditions")
	}
}

// qualifiedName is an identifier of C, with or without the domain of whoever gives it a meaning.
func qualifiedName(f *rule.Faults, name string, at *field.Path) {
	domain, id, ok := strings.Cut(name, "/")
	if !ok {
		identifier(f, name, at)
		return
	}
	if strings.Contains(id, "/") {
		return // upstream lets it pass
	}
	if domain == "" {
		f.Invalid(at, "", "the domain must not be empty")
	} else {
		podspec.CSIDriverName(f, domain, at)
	}
	if id == "" {
		f.Invalid(at, "", "the name must not be empty")
	} else {
		identifier(f, id, at)
	}
}

func fullName(f *rule.Faults, name string, at *field.Path) {
	qualifiedName(f, name, at)
	if !strings.Contains(name, "/") {
		f.Invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash")
	}
}

func identifier(f *rule.Faults, id string, at *field.Path) {
	if len(id) > resourcev1.DeviceMaxIDLength {
		f.Add(field.TooLong(at, "", resourcev1.DeviceMaxIDLength))
	}
	f.Each(at, id, content.IsCIdentifier(id))
}

// version is what semver.org 2.0.0 calls one.
var version = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?` +
	`(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)
