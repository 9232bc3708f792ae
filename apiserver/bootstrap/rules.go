package bootstrap

import (
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Sets of verbs that many rules share.
const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = read + " " + write
	core      = "core" // written for the core group, whose name is empty
)

// allow makes a rule from words: verbs, groups and resources are lists separated by spaces.
func allow(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: words(verbs), APIGroups: words(groups), Resources: words(resources), ResourceNames: names}
	for i, g := range r.APIGroups {
		if g == core {
			r.APIGroups[i] = ""
		}
	}
	slices.Sort(r.APIGroups)
	return r
}

func allowURLs(verbs, urls string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: words(verbs), NonResourceURLs: words(urls)}
}

func words(s string) []string {
	w := strings.Fields(s)
	slices.Sort(w)
	return w
}

func events() rbacv1.PolicyRule {
	return allow("create patch update", "core events.k8s.io", "events")
}

// meta returns the metadata that marks an object as reconciled at every start.
func meta(namespace, name string, labels map[string]string) metav1.ObjectMeta {
	all := map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}
	maps.Copy(all, labels)
	return metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: all,
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"}}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: meta("", name, nil), Rules: rules}
}

const aggregateTo = "rbac.authorization.k8s.io/aggregate-to-"

// aggregated is a role that collects the rules of all roles labelled for it, itself part of into.
func aggregated(name, into string) *rbacv1.ClusterRole {
	r := clusterRole(name)
	if into != "" {
		r.Labels[aggregateTo+into] = "true"
	}
	r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
		{MatchLabels: map[string]string{aggregateTo + name: "true"}}}}
	return r
}

// part is a role whose rules end up in the aggregated role to.
func part(to string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	r := clusterRole("system:aggregate-to-"+to, rules...)
	r.Labels[aggregateTo+to] = "true"
	return r
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: meta(namespace, name, nil), Rules: rules}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: meta("", name, nil), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}}
}

func binding(namespace, name, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: meta(namespace, name, nil), Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role}}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: name}
}

func userSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

func serviceAccount(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}
