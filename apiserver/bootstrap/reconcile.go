package bootstrap

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"

	"clipper/api"
)

// Reconciling adds what is missing and takes nothing away: an administrator may have widened a role. An
// object whose annotation rbac.authorization.kubernetes.io/autoupdate says false is left alone.

func protected(o metav1.Object) bool {
	return o.GetAnnotations()[rbacv1.AutoUpdateAnnotationKey] == "false"
}

// mergeMeta adds the labels and annotations of want that have lacks; what have says otherwise stays.
func mergeMeta(have, want *metav1.ObjectMeta) (changed bool) {
	add := func(to *map[string]string, from map[string]string) {
		merged := maps.Clone(from)
		maps.Copy(merged, *to)
		if !maps.Equal(merged, *to) {
			*to, changed = merged, true
		}
	}
	add(&have.Labels, want.Labels)
	add(&have.Annotations, want.Annotations)
	return changed
}

func mergeRules(have *[]rbacv1.PolicyRule, want []rbacv1.PolicyRule) bool {
	covered, missing := validation.Covers(*have, want)
	if !covered {
		*have = append(slices.Clip(*have), missing...)
	}
	return !covered
}

func mergeSubjects(have *[]rbacv1.Subject, want []rbacv1.Subject) (changed bool) {
	for _, s := range want {
		if !slices.Contains(*have, s) {
			*have = append(slices.Clip(*have), s)
			changed = true
		}
	}
	return changed
}

// reconcileClusterRole returns what have becomes, or nil if it is good as it is. The arguments stay as they are.
func reconcileClusterRole(have, want *rbacv1.ClusterRole) *rbacv1.ClusterRole {
	if protected(have) {
		return nil
	}
	next := have.DeepCopy()
	changed := mergeMeta(&next.ObjectMeta, &want.ObjectMeta)
	changed = mergeRules(&next.Rules, want.Rules) || changed
	if want.AggregationRule != nil {
		if next.AggregationRule == nil {
			next.AggregationRule = &rbacv1.AggregationRule{}
		}
		for _, sel := range want.AggregationRule.ClusterRoleSelectors {
			same := func(s metav1.LabelSelector) bool { return equality.Semantic.DeepEqual(s, sel) }
			if a := next.AggregationRule; !slices.ContainsFunc(a.ClusterRoleSelectors, same) {
				a.ClusterRoleSelectors = append(a.ClusterRoleSelectors, sel)
				changed = true
			}
		}
	}
	if !changed {
		return nil
	}
	return next
}

func reconcileRole(have, want *rbacv1.Role) *rbacv1.Role {
	if protected(have) {
		return nil
	}
	next := have.DeepCopy()
	changed := mergeMeta(&next.ObjectMeta, &want.ObjectMeta)
	if changed = mergeRules(&next.Rules, want.Rules) || changed; !changed {
		return nil
	}
	return next
}

// inherit lets system:public-info-viewer, where it is missing, begin as system:discovery is, which granted the same
// until v1.14: who had narrowed that one does not find the door open again.
func inherit(c api.Client, bindings []*rbacv1.ClusterRoleBinding) []*rbacv1.ClusterRoleBinding {
	const from, to = "system:discovery", "system:public-info-viewer"
	view := api.ClusterRoleBindings.View(c)
	old, found := view.Get("", from)
	if _, there := view.Get("", to); there || !found {
		return bindings
	}
	old = old.DeepCopy()
	for i, b := range bindings {
		if b.Name != to {
			continue
		}
		bindings[i] = b.DeepCopy()
		bindings[i].Labels, bindings[i].Annotations, bindings[i].Subjects = old.Labels, old.Annotations, old.Subjects
		if next, _ := reconcileClusterRoleBinding(bindings[i], b); next != nil {
			bindings[i] = next
		}
	}
	return bindings
}

// reconcileClusterRoleBinding returns what have becomes, nil if it is good. recreate says that it refers to
// another role, which no update can change.
func reconcileClusterRoleBinding(have, want *rbacv1.ClusterRoleBinding) (next *rbacv1.ClusterRoleBinding, recreate bool) {
	if protected(have) {
		return nil, false
	}
	next = have.DeepCopy()
	recreate = have.RoleRef != want.RoleRef
	changed := mergeMeta(&next.ObjectMeta, &want.ObjectMeta)
	changed = mergeSubjects(&next.Subjects, want.Subjects) || changed || recreate
	if !changed {
		return nil, false
	}
	next.RoleRef = want.RoleRef
	return next, recreate
}

func reconcileRoleBinding(have, want *rbacv1.RoleBinding) (next *rbacv1.RoleBinding, recreate bool) {
	if protected(have) {
		return nil, false
	}
	next = have.DeepCopy()
	recreate = have.RoleRef != want.RoleRef
	changed := mergeMeta(&next.ObjectMeta, &want.ObjectMeta)
	changed = mergeSubjects(&next.Subjects, want.Subjects) || changed || recreate
	if !changed {
		return nil, false
	}
	next.RoleRef = want.RoleRef
	return next, recreate
}
