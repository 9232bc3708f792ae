// Package authz decides what an authenticated user may do: members of system:masters everything, a node
// what its own pods need, everybody else what roles and bindings (RBAC) grant. It reads roles, bindings
// and pods through live views, so that a write of any of them counts from the next request on.
package authz

import (
	"context"
	"errors"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
)

// An Authorizer asks the privileged group, then the node rules, then RBAC. The first that allows wins;
// none of them can veto. It implements k8s.io/apiserver's Authorizer and RuleResolver.
type Authorizer struct {
	node *Node
	rbac *RBAC
}

// New returns the authorizer of a server whose objects c reads.
func New(c api.Client) *Authorizer {
	return &Authorizer{node: NewNode(c), rbac: NewRBAC(c)}
}

// Authorize decides on a request. NoOpinion, in the end, means no.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	if u := attrs.GetUser(); u != nil && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	d, nodeReason, nodeErr := a.node.Authorize(ctx, attrs)
	if d == authorizer.DecisionAllow {
		return d, nodeReason, nodeErr
	}
	d, reason, err := a.rbac.Authorize(ctx, attrs)
	if d == authorizer.DecisionAllow {
		return d, reason, err
	}
	switch {
	case nodeReason == "":
	case reason == "":
		reason = nodeReason
	default:
		reason = nodeReason + "\n" + reason
	}
	return authorizer.DecisionNoOpinion, reason, errors.Join(nodeErr, err)
}

// RulesFor lists what u may do in a namespace; incomplete says that there is more than can be listed.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	var faults []error
	if _, isNode := nodeIdentity(u); isNode {
		incomplete = true
		faults = append(faults, errors.New("node authorizer does not support user rule resolution"))
	}
	rules, err := a.rbac.Rules(u, namespace)
	faults = append(faults, err)
	for i := range rules {
		if r := &rules[i]; len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames})
		}
		if r := &rules[i]; len(r.NonResourceURLs) > 0 {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, urls, incomplete, errors.Join(faults...)
}

// Rules returns the policy rules that RBAC gives u in a namespace ("" for cluster-wide ones only).
func (a *Authorizer) Rules(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	return a.rbac.Rules(u, namespace)
}

// RoleRules returns the rules of the role that a binding in a namespace ("" for a cluster role binding)
// refers to.
func (a *Authorizer) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	return a.rbac.roleRules(ref, namespace)
}
