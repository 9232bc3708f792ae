// Package escalation keeps users from granting, through roles and bindings, what they do not have.
package escalation

import (
	"context"
	"errors"
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/apiserver/admission"
	"clipper/apiserver/authz"
)

// A Plugin checks writes of roles and bindings.
type Plugin struct{ authz *authz.Authorizer }

// New returns the plug-in that asks a who has what.
func New(a *authz.Authorizer) *Plugin { return &Plugin{a} }

// everything is what it takes to let a role collect the rules of others: it might collect anything.
var everything = []rbacv1.PolicyRule{
	{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}},
}

// Validate refuses grants of what the user does not hold.
func (p *Plugin) Validate(ctx context.Context, a *admission.Attributes) error {
	if a.Resource.Group != rbacv1.GroupName || a.Subresource != "" || a.User == nil ||
		(a.Operation != admission.Create && a.Operation != admission.Update) ||
		slices.Contains(a.User.GetGroups(), user.SystemPrivilegedGroup) {
		return nil
	}
	if a.Operation == admission.Update && onlyGarbageCollection(a) {
		return nil
	}
	switch o := a.Object.(type) {
	case *rbacv1.Role:
		return p.role(ctx, a, o.Rules, false)
	case *rbacv1.ClusterRole:
		old, _ := a.Old.(*rbacv1.ClusterRole)
		return p.role(ctx, a, o.Rules, collects(o) || collects(old)) // to stop collecting is a change of what it collects
	case *rbacv1.RoleBinding:
		return p.binding(ctx, a, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		return p.binding(ctx, a, o.RoleRef)
	}
	return nil
}

// collects reports whether a role, if there is one, takes its rules from others.
func collects(r *rbacv1.ClusterRole) bool {
	return r != nil && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

func (p *Plugin) role(ctx context.Context, a *admission.Attributes, rules []rbacv1.PolicyRule, collects bool) error {
	if p.authz.MayEscalate(ctx, a.User, a.Resource.Name, a.Namespace, a.Name) {
		return nil
	}
	if err := p.authz.Escalates(a.User, a.Namespace, rules); err != nil {
		return a.Forbidden(err)
	}
	if !collects {
		return nil
	}
	if err := p.authz.Escalates(a.User, a.Namespace, everything); err != nil {
		return a.Forbidden(errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func (p *Plugin) binding(ctx context.Context, a *admission.Attributes, ref rbacv1.RoleRef) error {
	if p.authz.MayBind(ctx, a.User, ref, a.Namespace) {
		return nil
	}
	rules, err := p.authz.RoleRules(ref, a.Namespace)
	if err != nil {
		return err // 404 on the role: one cannot vouch for what is not there
	}
	if err := p.authz.Escalates(a.User, a.Namespace, rules); err != nil {
		return a.Forbidden(err)
	}
	return nil
}

// onlyGarbageCollection reports whether an update changes nothing, or nothing but owners and finalizers, which the
// garbage collector must be able to do without holding the role's rights.
func onlyGarbageCollection(a *admission.Attributes) bool {
	next, old := a.Object, a.Old
	return maps.Equal(next.GetLabels(), old.GetLabels()) && maps.Equal(next.GetAnnotations(), old.GetAnnotations()) && sameContent(next, old)
}

func sameContent(next, old any) bool {
	switch n := next.(type) {
	case *rbacv1.Role:
		o := old.(*rbacv1.Role)
		return equality.Semantic.DeepEqual(n.Rules, o.Rules)
	case *rbacv1.ClusterRole:
		o := old.(*rbacv1.ClusterRole)
		return equality.Semantic.DeepEqual(n.Rules, o.Rules) && equality.Semantic.DeepEqual(n.AggregationRule, o.AggregationRule)
	case *rbacv1.RoleBinding:
		o := old.(*rbacv1.RoleBinding)
		return n.RoleRef == o.RoleRef && slices.Equal(n.Subjects, o.Subjects)
	case *rbacv1.ClusterRoleBinding:
		o := old.(*rbacv1.ClusterRoleBinding)
		return n.RoleRef == o.RoleRef && slices.Equal(n.Subjects, o.Subjects)
	}
	return false
}
