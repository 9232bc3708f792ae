package escalation

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
	"clipper/apiserver/authz"
)

func TestClusterRoles(t *testing.T) {
	c := &apitest.Client{}
	pods := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}
	c.Add(api.ClusterRoles.Resource, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "pods"}, Rules: pods})
	c.Add(api.ClusterRoleBindings.Resource, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "ann"},
		RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "pods"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "ann"}}})
	role := func(rules []rbacv1.PolicyRule, label string, finalizers []string, aggregate bool) *rbacv1.ClusterRole {
		r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r", Labels: map[string]string{"l": label}, Finalizers: finalizers}, Rules: rules}
		if aggregate {
			r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
		}
		return r
	}
	secrets := []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}}}
	const aggregation, escalation = "must have cluster-admin privileges to use the aggregationRule", "attempting to grant RBAC permissions not currently held"
	for _, tt := range []struct {
		name      string
		next, old *rbacv1.ClusterRole
		err       string
	}{
		{"what one has", role(pods, "", nil, false), nil, ""},
		{"what one has not", role(secrets, "", nil, false), nil, escalation},
		{"to collect", role(nil, "", nil, true), nil, aggregation},
		{"to stop collecting", role(nil, "", nil, false), role(nil, "", nil, true), aggregation},
		{"nothing changes", role(secrets, "", nil, false), role(secrets, "", nil, false), ""},
		{"a finalizer goes", role(secrets, "", nil, false), role(secrets, "", []string{"x/y"}, false), ""},
		{"a label changes", role(secrets, "a", nil, false), role(secrets, "b", nil, false), escalation},
	} {
		a := &admission.Attributes{User: &user.DefaultInfo{Name: "ann"}, Operation: admission.Create, Resource: api.ClusterRoles.Resource, Name: "r", Object: tt.next}
		if tt.old != nil {
			a.Operation, a.Old = admission.Update, tt.old
		}
		err := New(authz.New(c)).Validate(t.Context(), a)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
