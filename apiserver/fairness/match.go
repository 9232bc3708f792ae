package fairness

import (
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// matches says whether a flow schema is about a request.
func matches(s *flowcontrolv1.FlowSchema, r *Request) bool {
	for i := range s.Spec.Rules {
		if rule := &s.Spec.Rules[i]; anySubject(rule.Subjects, r.User) && anyTarget(rule, r) {
			return true
		}
	}
	return false
}

func anySubject(subjects []flowcontrolv1.Subject, u user.Info) bool {
	for i := range subjects {
		if isSubject(&subjects[i], u) {
			return true
		}
	}
	return false
}

func isSubject(s *flowcontrolv1.Subject, u user.Info) bool {
	switch {
	case s.Kind == flowcontrolv1.SubjectKindUser && s.User != nil:
		return s.User.Name == flowcontrolv1.NameAll || s.User.Name == u.GetName()
	case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group != nil:
		return s.Group.Name == flowcontrolv1.NameAll || slices.Contains(u.GetGroups(), s.Group.Name)
	case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil:
		if s.ServiceAccount.Name != flowcontrolv1.NameAll {
			return serviceaccount.MatchesUsername(s.ServiceAccount.Namespace, s.ServiceAccount.Name, u.GetName())
		}
		rest, ok := strings.CutPrefix(u.GetName(), serviceaccount.ServiceAccountUsernamePrefix)
		namespace, _, named := strings.Cut(rest, serviceaccount.ServiceAccountUsernameSeparator)
		return ok && named && namespace == s.ServiceAccount.Namespace
	}
	return false
}

func anyTarget(rule *flowcontrolv1.PolicyRulesWithSubjects, r *Request) bool {
	if !r.IsResource {
		return slices.ContainsFunc(rule.NonResourceRules, func(n flowcontrolv1.NonResourcePolicyRule) bool {
			return lists(n.Verbs, r.Verb) && slices.ContainsFunc(n.NonResourceURLs, func(url string) bool { return covers(url, r.Path) })
		})
	}
	for i := range rule.ResourceRules {
		if isResource(&rule.ResourceRules[i], r) {
			return true
		}
	}
	return false
}

func isResource(rule *flowcontrolv1.ResourcePolicyRule, r *Request) bool {
	if !lists(rule.Verbs, r.Verb) || !lists(rule.APIGroups, r.Group) || !listsResource(rule.Resources, r) {
		return false
	}
	if r.Namespace == "" {
		return rule.ClusterScope
	}
	return lists(rule.Namespaces, r.Namespace)
}

// lists says whether a list names something, or everything by a star that stands alone.
func lists(list []string, name string) bool {
	if len(list) == 1 && list[0] == "*" {
		return true
	}
	return slices.Contains(list, name)
}

// listsResource is lists for a resource with its subresource. It builds no string.
func listsResource(list []string, r *Request) bool {
	if r.Subresource == "" || len(list) == 1 && list[0] == "*" {
		return lists(list, r.Resource)
	}
	for _, entry := range list {
		resource, sub, _ := strings.Cut(entry, "/")
		if resource == r.Resource && sub == r.Subresource {
			return true
		}
	}
	return false
}

// covers says whether a rule's URL is the path, or what the path is below.
func covers(url, path string) bool {
	if url == flowcontrolv1.NonResourceAll || url == path {
		return true
	}
	prefix := strings.TrimSuffix(url, "*")
	if rest, ok := strings.CutPrefix(path, prefix); ok {
		return strings.HasSuffix(prefix, "/") || strings.HasPrefix(rest, "/")
	}
	return false
}

// byPrecedence orders schemas as requests try them: by precedence, then by name.
func byPrecedence(a, b *flowcontrolv1.FlowSchema) int {
	if d := a.Spec.MatchingPrecedence - b.Spec.MatchingPrecedence; d != 0 {
		return int(d)
	}
	return strings.Compare(a.Name, b.Name)
}
