package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/core/podspec"
	"clipper/catalogue/rule"
)

func validateResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	f, at := &rule.Faults{}, field.NewPath("spec")
	quotaList(f, q.Spec.Hard, at.Child("hard"))
	quotaScopes(f, &q.Spec, at.Child("scopes"))
	if q.Spec.ScopeSelector != nil {
		scopeSelector(f, &q.Spec, at.Child("scopeSelector", "matchExpressions"))
	}
	return f.List
}

func validateResourceQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	f := &rule.Faults{List: validateResourceQuota(q)}
	is, was := slices.Sorted(slices.Values(q.Spec.Scopes)), slices.Sorted(slices.Values(old.Spec.Scopes))
	if !slices.Equal(slices.Compact(is), slices.Compact(was)) {
		f.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, rule.Immutable)
	}
	return f.List
}

func validateResourceQuotaStatus(q, _ *corev1.ResourceQuota) field.ErrorList {
	f, at := &rule.Faults{}, field.NewPath("status")
	quotaList(f, q.Status.Hard, at.Child("hard"))
	quotaList(f, q.Status.Used, at.Child("used"))
	return f.List
}

func quotaList(f *rule.Faults, list corev1.ResourceList, at *field.Path) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		path := at.Key(string(name))
		podspec.ResourceName(f, path, name)
		if !strings.Contains(string(name), "/") && !isQuotaName(name) {
			f.Invalid(path, name, "must be a standard resource for quota")
		}
		podspec.Quantity(f, path, name, list[name])
	}
}

// isQuotaName says that a quota can bound a resource of this bare name.
func isQuotaName(name corev1.ResourceName) bool {
	return podspec.IsStandard(name) && name != corev1.ResourceStorage
}

var (
	scopes = []corev1.ResourceQuotaScope{
		corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
		corev1.ResourceQuotaScopeVolumeAttributesClass,
	}
	conflicts = [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	}
)

// scopeFits says that pods of a scope can use the resource: a best-effort one has no cpu to count.
func scopeFits(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	bare := strings.TrimPrefix(strings.TrimPrefix(string(name), "requests."), "limits.")
	compute := bare == "cpu" || bare == "memory"
	claims := name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return claims
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return name == corev1.ResourcePods || compute
	}
	return true
}

func quotaScopes(f *rule.Faults, s *corev1.ResourceQuotaSpec, at *field.Path) {
	for _, scope := range s.Scopes {
		if !slices.Contains(scopes, scope) {
			f.Invalid(at, s.Scopes, "unsupported scope")
		}
		for _, name := range slices.Sorted(maps.Keys(s.Hard)) {
			if isQuotaName(name) && !scopeFits(scope, name) {
				f.Invalid(at, s.Scopes, "unsupported scope applied to resource")
			}
		}
	}
	for _, pair := range conflicts {
		if slices.Contains(s.Scopes, pair[0]) && slices.Contains(s.Scopes, pair[1]) {
			f.Invalid(at, s.Scopes, "conflicting scopes")
		}
	}
}

func scopeSelector(f *rule.Faults, s *corev1.ResourceQuotaSpec, at *field.Path) {
	seen := map[corev1.ResourceQuotaScope]bool{}
	for _, r := range s.ScopeSelector.MatchExpressions {
		seen[r.ScopeName] = true
		if !slices.Contains(scopes, r.ScopeName) {
			f.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope")
		}
		for _, name := range slices.Sorted(maps.Keys(s.Hard)) {
			if isQuotaName(name) && !scopeFits(r.ScopeName, name) {
				f.Invalid(at, s.ScopeSelector, "unsupported scope applied to resource")
			}
		}
		scopeOperator(f, r, at)
	}
	for _, pair := range conflicts {
		if seen[pair[0]] && seen[pair[1]] {
			f.Invalid(at, s.Scopes, "conflicting scopes")
		}
	}
}

func scopeOperator(f *rule.Faults, r corev1.ScopedResourceSelectorRequirement, at *field.Path) {
	valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
	if slices.Contains(scopes, r.ScopeName) && !valued && r.Operator != corev1.ScopeSelectorOpExists {
		f.Invalid(at.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			f.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) != 0 {
			f.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		f.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator")
	}
}

// quotaWarnings: requests that may be larger than limits can never all be used.
func quotaWarnings(q, old *corev1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var out []string
	for _, bare := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		name := "requests." + bare
		request, ok := q.Spec.Hard[name]
		if !ok && bare != corev1.ResourceEphemeralStorage {
			name = bare
			request, ok = q.Spec.Hard[name]
		}
		limit, limited := q.Spec.Hard["limits."+bare]
		if ok && limited && request.Cmp(limit) > 0 {
			out = append(out, fmt.Sprintf("ResourceQuota %s (%s) should be less than limits.%s (%s)", name, request.String(), bare, limit.String()))
		}
	}
	return out
}
