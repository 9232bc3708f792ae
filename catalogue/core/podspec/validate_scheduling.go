package podspec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

func (v *validating) affinity(at *field.Path) {
	a := v.spec.Affinity
	if a == nil {
		return
	}
	const required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		path := at.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			NodeSelector(v.Faults, n.RequiredDuringSchedulingIgnoredDuringExecution, v.LaxAffinity, path.Child(required))
		}
		for i, t := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			v.weight(t.Weight, path.Child(preferred).Index(i))
			nodeTerm(v.Faults, &t.Preference, true, path.Child(preferred).Index(i).Child("preference"))
		}
	}
	if p := a.PodAffinity; p != nil {
		v.podTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity", required))
		v.weightedTerms(p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAffinity", preferred))
	}
	if p := a.PodAntiAffinity; p != nil {
		v.podTerms(p.RequiredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity", required))
		v.weightedTerms(p.PreferredDuringSchedulingIgnoredDuringExecution, at.Child("podAntiAffinity", preferred))
	}
}

func (v *validating) weight(n int32, at *field.Path) {
	if n <= 0 || n > 100 {
		v.Invalid(at.Child("weight"), n, "must be in the range 1-100")
	}
}

func (v *validating) podTerms(list []corev1.PodAffinityTerm, at *field.Path) {
	for i := range list {
		v.podTerm(&list[i], at.Index(i))
	}
}

func (v *validating) weightedTerms(list []corev1.WeightedPodAffinityTerm, at *field.Path) {
	for i := range list {
		v.weight(list[i].Weight, at.Index(i))
		v.podTerm(&list[i].PodAffinityTerm, at.Index(i).Child("podAffinityTerm"))
	}
}

func (v *validating) podTerm(t *corev1.PodAffinityTerm, at *field.Path) {
	v.Selector(at.Child("labelSelector"), t.LabelSelector, v.LaxSelectors)
	v.Selector(at.Child("namespaceSelector"), t.NamespaceSelector, v.LaxSelectors)
	for _, name := range t.Namespaces {
		v.Each(at.Child("namespace"), name, validation.ValidateNamespaceName(name, false))
	}
	v.labelKeys(t.MatchLabelKeys, t.MismatchLabelKeys, t.LabelSelector, at)
	if t.TopologyKey == "" {
		v.Required(at.Child("topologyKey"), "can not be empty")
	}
	v.LabelName(at.Child("topologyKey"), t.TopologyKey)
}

// labelKeys checks the keys whose values are taken from the pod. They are merged into the selector on
// creation, so a key that the selector has once is fine on an update.
func (v *validating) labelKeys(match, mismatch []string, s *metav1.LabelSelector, at *field.Path) {
	check := func(keys []string, path *field.Path) {
		if len(keys) > 0 && s == nil {
			v.Forbidden(path, "must not be specified when labelSelector is not set")
			return
		}
		for i, key := range keys {
			v.LabelName(path.Index(i), key)
		}
	}
	check(match, at.Child("matchLabelKeys"))
	check(mismatch, at.Child("mismatchLabelKeys"))
	if s != nil {
		seen := rule.Seen[string]{}
		for key := range s.MatchLabels {
			seen[key] = true
		}
		for _, e := range s.MatchExpressions {
			if i := slices.Index(match, e.Key); seen.Again(e.Key) && i >= 0 {
				v.Invalid(at.Index(i), e.Key, "exists in both matchLabelKeys and labelSelector")
			}
		}
	}
	for i, key := range match {
		if slices.Contains(mismatch, key) {
			v.Invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys")
		}
	}
}

// NodeSelector checks the terms of a node selector. lax admits values that no label can have.
func NodeSelector(f *rule.Faults, s *corev1.NodeSelector, lax bool, at *field.Path) {
	path := at.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		f.Required(path, "must have at least one node selector term")
	}
	for i := range s.NodeSelectorTerms {
		nodeTerm(f, &s.NodeSelectorTerms[i], lax, path.Index(i))
	}
}

func nodeTerm(f *rule.Faults, t *corev1.NodeSelectorTerm, lax bool, at *field.Path) {
	for i, r := range t.MatchExpressions {
		nodeRequirement(f, r, lax, at.Child("matchExpressions").Index(i))
	}
	for i, r := range t.MatchFields {
		nodeField(f, r, at.Child("matchFields").Index(i))
	}
}

func nodeRequirement(f *rule.Faults, r corev1.NodeSelectorRequirement, lax bool, at *field.Path) {
	values := at.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			f.Required(values, "must be specified when `operator` is 'In' or 'NotIn'")
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			f.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			f.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'")
		}
	default:
		f.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	}
	f.LabelName(at.Child("key"), r.Key)
	if lax {
		return
	}
	for i, value := range r.Values {
		f.Each(values.Index(i), value, utilvalidation.IsValidLabelValue(value))
	}
}

func nodeField(f *rule.Faults, r corev1.NodeSelectorRequirement, at *field.Path) {
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			f.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector")
		}
	default:
		f.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	}
	if r.Key != metav1.ObjectNameField {
		f.Invalid(at.Child("key"), r.Key, "not a valid field selector key")
		return
	}
	for i, name := range r.Values {
		f.DNSSubdomain(at.Child("values").Index(i), name)
	}
}

func (v *validating) schedulingGates(at *field.Path) {
	seen := rule.Seen[string]{}
	for i, gate := range v.spec.SchedulingGates {
		v.QualifiedName(at.Index(i), gate.Name)
		if seen.Again(gate.Name) {
			v.Duplicate(at.Index(i), gate.Name)
		}
	}
}

func (v *validating) tolerations(at *field.Path, list []corev1.Toleration) {
	Tolerations(v.Faults, list, at)
}

// Tolerations checks tolerations.
func Tolerations(f *rule.Faults, list []corev1.Toleration, at *field.Path) {
	for i, t := range list {
		path := at.Index(i)
		operator := path.Child("operator")
		if t.Key != "" {
			f.LabelName(path.Child("key"), t.Key)
		} else if t.Operator != corev1.TolerationOpExists {
			f.Invalid(operator, t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\"")
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			f.Invalid(path.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			if messages := utilvalidation.IsValidLabelValue(t.Value); len(messages) > 0 {
				f.Invalid(operator, t.Value, strings.Join(messages, ";"))
			}
		case corev1.TolerationOpExists:
			if t.Value != "" {
				f.Invalid(operator, t.Value, "value must be empty when `operator` is 'Exists'")
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt: // upstream's message, although the feature is off
			f.Add(field.NotSupported(operator, t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt}))
		default:
			f.Add(field.NotSupported(operator, t.Operator, []corev1.TolerationOperator{corev1.TolerationOpEqual, corev1.TolerationOpExists}))
		}
		if t.Effect != "" {
			TaintEffect(f, t.Effect, path.Child("effect"))
		}
	}
}

// TaintEffect checks the effect of a taint.
func TaintEffect(f *rule.Faults, e corev1.TaintEffect, at *field.Path) {
	rule.Choice(f, at, e, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func (v *validating) spread(at *field.Path) {
	list := v.spec.TopologySpreadConstraints
	for i := range list {
		c, path := &list[i], at.Index(i)
		v.Positive(path.Child("maxSkew"), int64(c.MaxSkew))
		if c.TopologyKey == "" {
			v.Required(path.Child("topologyKey"), "can not be empty")
		}
		rule.OneOf(v.Faults, path.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)
		if slices.ContainsFunc(list[i+1:], func(o corev1.TopologySpreadConstraint) bool {
			return o.TopologyKey == c.TopologyKey && o.WhenUnsatisfiable == c.WhenUnsatisfiable
		}) {
			v.Duplicate(path.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable))
		}
		if c.MinDomains != nil {
			v.Positive(path.Child("minDomains"), int64(*c.MinDomains))
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				v.Invalid(path.Child("minDomains"), c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not %s", c.WhenUnsatisfiable))
			}
		}
		v.inclusion(c.NodeAffinityPolicy, path.Child("nodeAffinityPolicy"))
		v.inclusion(c.NodeTaintsPolicy, path.Child("nodeTaintsPolicy"))
		v.labelKeys(c.MatchLabelKeys, nil, c.LabelSelector, path)
		v.Selector(path.Child("labelSelector"), c.LabelSelector, v.LaxSelectors)
	}
}

func (v *validating) inclusion(p *corev1.NodeInclusionPolicy, at *field.Path) {
	if p != nil {
		rule.OneOf(v.Faults, at, *p, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)
	}
}

func hasLaxSelector(spec *corev1.PodSpec) bool {
	lax := false
	look := func(s *metav1.LabelSelector) { lax = lax || rule.LaxSelector(s) }
	for i := range spec.TopologySpreadConstraints {
		look(spec.TopologySpreadConstraints[i].LabelSelector)
	}
	EachAffinityTerm(spec.Affinity, func(t *corev1.PodAffinityTerm) { look(t.LabelSelector); look(t.NamespaceSelector) })
	return lax
}

// EachAffinityTerm visits the terms about pods, required and preferred ones, of an affinity that may be nil.
func EachAffinityTerm(a *corev1.Affinity, visit func(*corev1.PodAffinityTerm)) {
	if a == nil {
		return
	}
	both := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		for i := range required {
			visit(&required[i])
		}
		for i := range preferred {
			visit(&preferred[i].PodAffinityTerm)
		}
	}
	if a.PodAffinity != nil {
		both(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if a.PodAntiAffinity != nil {
		both(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	}
}

func hasLaxAffinity(spec *corev1.PodSpec) bool {
	if spec.Affinity == nil || spec.Affinity.NodeAffinity == nil || spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return false
	}
	for _, t := range spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, r := range t.MatchExpressions {
			for _, value := range r.Values {
				if len(utilvalidation.IsValidLabelValue(value)) > 0 {
					return true
				}
			}
		}
	}
	return false
}
