// Package authz decides what an authenticated user may do: members of system:masters everything, and everybody what the
// authorizers allow that are configured, each asked in turn: as a rule Node, for what a node's own pods need, and RBAC,
// for what roles and bindings grant; a file of policies, webhooks and the two that always give the same answer, if wanted. Roles, bindings
// and pods are read through live views, so that a write of any of them counts from the next request on.
package authz

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
	"clipper/apiserver/authz/abac"
)

// An Authorizer asks the privileged group, then its members in order. The first that allows or denies decides. It
// implements k8s.io/apiserver's Authorizer and RuleResolver.
type Authorizer struct {
	options Options
	node    *Node
	rbac    *RBAC
	// policies reads those of ABAC, once: a change of the file counts from the next start on, as upstream.
	policies func() (abac.Policies, error)
	members  atomic.Pointer[[]member]
	text     []byte // of the configuration file as it was last tried
	config   *apiserver.AuthorizationConfiguration
}

// A member is one authorizer of the chain.
type member interface {
	authorizer.Authorizer
	authorizer.RuleResolver
}

// New returns the authorizer of a server whose objects c reads: Node and RBAC.
func New(c api.Client) *Authorizer {
	a := &Authorizer{node: NewNode(c), rbac: NewRBAC(c)}
	a.policies = sync.OnceValues(func() (abac.Policies, error) { return abac.Load(a.options.Policy) })
	a.members.Store(&[]member{a.node, a.rbac})
	return a
}

// Authorize decides on a request. NoOpinion, in the end, means no.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	if u := attrs.GetUser(); u != nil && slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	var faults []error
	reasons := ""
	for _, m := range *a.members.Load() {
		d, reason, err := m.Authorize(ctx, attrs)
		if d != authorizer.DecisionNoOpinion {
			return d, reason, err
		}
		if err != nil {
			faults = append(faults, err)
		}
		switch {
		case reasons == "":
			reasons = reason
		case reason != "":
			reasons += "\n" + reason
		}
	}
	return authorizer.DecisionNoOpinion, reasons, utilerrors.NewAggregate(faults)
}

// RulesFor lists what u may do in a namespace; incomplete says that there is more than can be listed.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	var faults []error
	for _, m := range *a.members.Load() {
		r, n, some, err := m.RulesFor(ctx, u, namespace)
		resources, urls, incomplete = append(resources, r...), append(urls, n...), incomplete || some
		if err != nil {
			faults = append(faults, err)
		}
	}
	return resources, urls, incomplete, utilerrors.NewAggregate(faults)
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
