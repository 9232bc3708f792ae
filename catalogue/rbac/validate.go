package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

func policyRules(f *rule.Faults, rules []rbacv1.PolicyRule, namespaced bool) {
	for i, r := range rules {
		at := field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			f.Required(at.Child("verbs"), "verbs must contain at least one value")
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				f.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				f.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			f.Required(at.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(r.Resources) == 0 {
			f.Required(at.Child("resources"), "resource rules must supply at least one resource")
		}
	}
}

func validateRole(r *rbacv1.Role) field.ErrorList {
	f := &rule.Faults{}
	policyRules(f, r.Rules, true)
	return f.List
}

func validateClusterRole(r *rbacv1.ClusterRole, lax bool) field.ErrorList {
	f := &rule.Faults{}
	policyRules(f, r.Rules, false)
	if r.AggregationRule == nil {
		return f.List
	}
	at, selectors := field.NewPath("aggregationRule", "clusterRoleSelectors"), r.AggregationRule.ClusterRoleSelectors
	if len(selectors) == 0 {
		f.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil")
	}
	for i := range selectors {
		f.Selector(at.Index(i), &selectors[i], lax)
		if _, err := metav1.LabelSelectorAsSelector(&selectors[i]); err != nil {
			f.Invalid(at.Index(i), nil, "invalid label selector.") // upstream quotes the selector that it did not get
		}
	}
	return f.List
}

// laxRole says that a stored role has selector values that no label can have.
func laxRole(r *rbacv1.ClusterRole) bool {
	if r.AggregationRule == nil {
		return false
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		if rule.LaxSelector(&r.AggregationRule.ClusterRoleSelectors[i]) {
			return true
		}
	}
	return false
}

// binding checks both sorts of binding. A namespaced one may refer to roles of its namespace, and its
// service accounts may leave the namespace out.
func binding(ref rbacv1.RoleRef, subjects []rbacv1.Subject, namespaced bool) *rule.Faults {
	f, at := &rule.Faults{}, field.NewPath("roleRef")
	if ref.APIGroup != rbacv1.GroupName {
		f.Add(field.NotSupported(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	kinds := []string{"ClusterRole"}
	if namespaced {
		kinds = []string{"Role", "ClusterRole"}
	}
	if ref.Kind != "ClusterRole" && (ref.Kind != "Role" || !namespaced) {
		f.Add(field.NotSupported(at.Child("kind"), ref.Kind, kinds))
	}
	if f.Need(at.Child("name"), ref.Name) {
		f.Each(at.Child("name"), ref.Name, path.ValidatePathSegmentName(ref.Name, false))
	}
	for i, s := range subjects {
		subject(f, s, namespaced, field.NewPath("subjects").Index(i))
	}
	return f
}

func subject(f *rule.Faults, s rbacv1.Subject, namespaced bool, at *field.Path) {
	f.Need(at.Child("name"), s.Name)
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		if s.Name != "" {
			f.DNSSubdomain(at.Child("name"), s.Name)
		}
		if s.APIGroup != "" {
			f.Add(field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{""}))
		}
		if !namespaced {
			f.Need(at.Child("namespace"), s.Namespace)
		}
	case rbacv1.UserKind, rbacv1.GroupKind:
		if s.APIGroup != rbacv1.GroupName {
			f.Add(field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{rbacv1.GroupName}))
		}
	default:
		f.Add(field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
	}
}

func sameRef(f *rule.Faults, is, was rbacv1.RoleRef) field.ErrorList {
	if is != was {
		f.Invalid(field.NewPath("roleRef"), is, "cannot change roleRef")
	}
	return f.List
}
