package clusterrole

import (
	"context"
	"testing"
	"testing/synctest"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

func TestAggregation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := func(verb string) rbacv1.PolicyRule {
			return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{"pods"}}
		}
		role := func(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
			r := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
			if label != "" {
				r.Labels = map[string]string{label: "true"}
			}
			return r
		}
		collects := func(r *rbacv1.ClusterRole, label string) *rbacv1.ClusterRole {
			r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{label: "true"}}}}
			return r
		}
		c := &apitest.Client{}
		c.Add(api.ClusterRoles.Resource,
			collects(role("admin", ""), "to-admin"), collects(role("edit", "to-admin", rule("stale")), "to-edit"),
			role("p1", "to-edit", rule("get"), rule("list")), role("p2", "to-edit", rule("list"), rule("watch")), role("p3", "to-admin", rule("delete")), role("none", "", rule("x")))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- New(c).Run(ctx) }()
		verbs := func(name string) (out string) {
			synctest.Wait()
			r, _ := api.ClusterRoles.View(c).Get("", name)
			for _, rule := range r.Rules {
				out += rule.Verbs[0] + " "
			}
			return out
		}
		if got := verbs("edit"); got != "get list watch " {
			t.Errorf("edit: %s", got)
		}
		if got := verbs("admin"); got != "get list watch delete " {
			t.Errorf("admin, which collects edit: %s", got)
		}
		c.Add(api.ClusterRoles.Resource, role("p4", "to-edit", rule("patch")))
		if got := verbs("admin"); got != "get list watch patch delete " {
			t.Errorf("admin after a new part: %s", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
