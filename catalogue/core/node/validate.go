package node

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

// taintsPath is upstream's: taints once were an annotation.
var taintsPath = field.NewPath("metadata", "taints")

func validateCreate(n *corev1.Node) field.ErrorList {
	f := &rule.Faults{}
	taints(f, n.Spec.Taints)
	amounts(f, n)
	if swap := n.Status.NodeInfo.Swap; swap != nil && swap.Capacity != nil {
		f.Positive(field.NewPath("metadata", "nodeSwapStatus", "capacity"), *swap.Capacity) // upstream's path
	}
	declaredFeatures(f, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	podCIDRs(f, n.Spec.PodCIDRs, field.NewPath("spec", "podCIDRs"))
	return f.List
}

func podCIDRs(f *rule.Faults, list []string, at *field.Path) {
	for i, cidr := range list {
		f.CIDR(at.Index(i), cidr)
	}
	if len(list) < 2 {
		return
	}
	dual, err := netutils.IsDualStackCIDRStrings(list)
	if err != nil {
		f.Add(field.InternalError(at, fmt.Errorf("invalid PodCIDRs. failed to check with dual stack with error:%v", err)))
	}
	if !dual || len(list) > 2 {
		f.Invalid(at, list, "may specify no more than one CIDR for each IP family")
	}
}

var featureName = regexp.MustCompile(`^[A-Z][a-zA-Z0-9]*(/[a-zA-Z][a-zA-Z0-9]*)*$`)

// declaredFeatures checks what a node says that it can do: a sorted list without repetitions.
func declaredFeatures(f *rule.Faults, list []string, at *field.Path) {
	for i, name := range list {
		switch {
		case len(name) > utilvalidation.DNS1123SubdomainMaxLength:
			f.Invalid(at.Index(i), name, fmt.Sprintf("invalid feature name %q: must be no more than %d characters", name, utilvalidation.DNS1123SubdomainMaxLength))
		case !featureName.MatchString(name):
			f.Invalid(at.Index(i), name, fmt.Sprintf("invalid feature name %q: must start with an UpperCamelCase segment, with subsequent segments "+
				"separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes", name))
		}
		if i+1 == len(list) {
			break
		}
		switch next := list[i+1]; {
		case name == next:
			f.Duplicate(at.Index(i+1), next)
		case name > next:
			f.Invalid(at.Index(i+1), next, "list must be sorted alphabetically")
		}
	}
}

func validateUpdate(n, old *corev1.Node) field.ErrorList {
	return append(validateCreate(n), validateChange(n, old)...)
}

// validateChange checks an update of the node or of its status.
func validateChange(n, old *corev1.Node) field.ErrorList {
	f := &rule.Faults{}
	amounts(f, n)
	declaredFeatures(f, n.Status.DeclaredFeatures, field.NewPath("status", "declaredFeatures"))
	seen := rule.Seen[corev1.NodeAddress]{}
	for i, a := range n.Status.Addresses {
		if seen.Again(a) {
			f.Duplicate(field.NewPath("status", "addresses").Index(i), a)
		}
	}
	spec := field.NewPath("spec")
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(old.Spec.PodCIDRs, n.Spec.PodCIDRs) {
		f.Forbidden(spec.Child("podCIDRs"), `node updates may not change podCIDR except from "" to valid`)
	}
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID {
		f.Forbidden(spec.Child("providerID"), `node updates may not change providerID except from "" to valid`)
	}
	taints(f, n.Spec.Taints)
	if n.Spec.DoNotUseExternalID != old.Spec.DoNotUseExternalID {
		f.Forbidden(spec.Child("externalID"), "may not be updated")
	}
	return f.List
}

func taints(f *rule.Faults, list []corev1.Taint) {
	type key struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := rule.Seen[key]{}
	for i, t := range list {
		at := taintsPath.Index(i)
		f.LabelName(at.Child("key"), t.Key)
		if messages := utilvalidation.IsValidLabelValue(t.Value); len(messages) > 0 {
			f.Invalid(at.Child("value"), t.Value, strings.Join(messages, ";"))
		}
		podspec.TaintEffect(f, t.Effect, at.Child("effect"))
		if seen.Again(key{t.Key, t.Effect}) {
			fault := field.Duplicate(at, t)
			fault.Detail = "taints must be unique by key and effect pair"
			f.Add(fault)
		}
	}
}

func amounts(f *rule.Faults, n *corev1.Node) {
	check := func(name string, list corev1.ResourceList) {
		for _, r := range slices.Sorted(maps.Keys(list)) {
			podspec.Quantity(f, field.NewPath("status", name, string(r)), r, list[r])
		}
	}
	check("capacity", n.Status.Capacity)
	check("allocatable", n.Status.Allocatable)
}

func warnings(n, _ *corev1.Node) []string {
	var out []string
	if n.Spec.ConfigSource != nil {
		out = append(out, "spec.configSource: the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		out = append(out, "spec.externalID: this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		out = append(out, utilvalidation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return out
}
