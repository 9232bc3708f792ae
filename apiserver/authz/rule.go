package authz

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// ruleAllows reports whether one rule covers a request. It allocates nothing: every request pays for it.
func ruleAllows(a authorizer.Attributes, rule *rbacv1.PolicyRule) bool {
	if !containsOrStar(rule.Verbs, a.GetVerb()) {
		return false
	}
	if !a.IsResourceRequest() {
		return urlMatches(rule.NonResourceURLs, a.GetPath())
	}
	return containsOrStar(rule.APIGroups, a.GetAPIGroup()) &&
		resourceMatches(rule.Resources, a.GetResource(), a.GetSubresource()) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, a.GetName()))
}

func containsOrStar(set []string, s string) bool {
	for _, e := range set {
		if e == "*" || e == s {
			return true
		}
	}
	return false
}

// resourceMatches knows four forms: *, pods, pods/log and */log. Plain pods does not cover pods/log.
func resourceMatches(set []string, resource, sub string) bool {
	for _, e := range set {
		if e == "*" {
			return true
		}
		if sub == "" {
			if e == resource {
				return true
			}
			continue
		}
		if len(e) <= len(sub) || e[len(e)-len(sub):] != sub || e[len(e)-len(sub)-1] != '/' {
			continue
		}
		if parent := e[:len(e)-len(sub)-1]; parent == "*" || parent == resource {
			return true
		}
	}
	return false
}

// urlMatches knows three forms: *, an exact path, and a prefix with a trailing star.
func urlMatches(set []string, path string) bool {
	for _, e := range set {
		if e == "*" || e == path {
			return true
		}
		if prefix, ok := strings.CutSuffix(e, "*"); ok && strings.HasPrefix(path, strings.TrimRight(prefix, "*")) {
			return true
		}
	}
	return false
}
