package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// MayEscalate says whether u may write role name (resource roles or clusterroles) whatever its rules.
func (a *Authorizer) MayEscalate(ctx context.Context, u user.Info, resource, namespace, name string) bool {
	return a.allows(ctx, u, "escalate", resource, namespace, name)
}

// MayBind says whether u may hand out the role of ref in a namespace whatever its rules.
func (a *Authorizer) MayBind(ctx context.Context, u user.Info, ref rbacv1.RoleRef, namespace string) bool {
	switch ref.Kind {
	case "Role":
		return a.allows(ctx, u, "bind", "roles", namespace, ref.Name)
	case "ClusterRole":
		return a.allows(ctx, u, "bind", "clusterroles", namespace, ref.Name)
	}
	return false
}

func (a *Authorizer) allows(ctx context.Context, u user.Info, verb, resource, namespace, name string) bool {
	d, _, _ := a.Authorize(ctx, authorizer.AttributesRecord{
		User: u, Verb: verb, APIGroup: rbacv1.GroupName, APIVersion: "*", Resource: resource,
		Namespace: namespace, Name: name, ResourceRequest: true,
	})
	return d == authorizer.DecisionAllow
}

// Escalates returns an error, in upstream's words, if rules grant more than u has in the namespace.
func (a *Authorizer) Escalates(u user.Info, namespace string, rules []rbacv1.PolicyRule) error {
	held, err := a.Rules(u, namespace)
	covered, missing := validation.Covers(held, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		lines = append(lines, compactString(rule))
	}
	slices.Sort(lines)
	msg := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if err != nil {
		msg += fmt.Sprintf("; resolution errors: %v", []error{err})
	}
	return errors.New(msg)
}

// compact joins the verbs of rules that are alike in group, resource and name.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type likeness struct {
		group, resource, name string
		named                 bool
	}
	var out []rbacv1.PolicyRule
	at := map[likeness]int{}
	for _, r := range rules {
		if len(r.APIGroups) != 1 || len(r.Resources) != 1 || len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 {
			out = append(out, r)
			continue
		}
		k := likeness{group: r.APIGroups[0], resource: r.Resources[0]}
		if len(r.ResourceNames) == 1 {
			k.name, k.named = r.ResourceNames[0], true
		}
		if i, ok := at[k]; ok {
			out[i].Verbs = append(slices.Clip(out[i].Verbs), r.Verbs...)
			continue
		}
		at[k] = len(out)
		out = append(out, r)
	}
	return out
}

func compactString(r rbacv1.PolicyRule) string {
	var parts []string
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"APIGroups", r.APIGroups}, {"Resources", r.Resources}, {"NonResourceURLs", r.NonResourceURLs},
		{"ResourceNames", r.ResourceNames}, {"Verbs", r.Verbs},
	} {
		if len(f.values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", f.name, f.values))
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
