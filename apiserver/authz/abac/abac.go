// Package abac decides by a file of policies, one JSON object per line: who (a user, a group) may do what (everything, or
// read only) with which resources of which namespace, or with which paths. Lines of version v1beta1 say so in their
// apiVersion and kind; lines without them are of the first version, which knew no API groups. The file is read once.
package abac

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// wildcard stands for each user, group, namespace, group of the API, resource or path.
const wildcard = "*"

// A Policy is one line of the file. Of the subject, what is not said does not matter; who says nothing means nobody.
type Policy struct {
	User            string `json:"user,omitempty"`
	Group           string `json:"group,omitempty"`
	Readonly        bool   `json:"readonly,omitempty"`
	APIGroup        string `json:"apiGroup,omitempty"`
	Resource        string `json:"resource,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	NonResourcePath string `json:"nonResourcePath,omitempty"`
}

// Policies implement k8s.io/apiserver's Authorizer and RuleResolver: one that matches allows, and none denies.
type Policies []Policy

// Authorize implements authorizer.Authorizer.
func (ps Policies) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	for i := range ps {
		if p := &ps[i]; p.isFor(a.GetUser()) && (a.IsReadOnly() || !p.Readonly) && p.isAbout(a) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "No policy matched.", nil
}

// isFor says whether the policy is about a user: as whom it names, and as a member of the group that it names.
func (p *Policy) isFor(u user.Info) bool {
	if u == nil || p.User == "" && p.Group == "" {
		return false
	}
	return (p.User == "" || matches(p.User, u.GetName())) &&
		(p.Group == "" || p.Group == wildcard || slices.Contains(u.GetGroups(), p.Group))
}

// isAbout says whether the policy is about what a request asks for.
func (p *Policy) isAbout(a authorizer.Attributes) bool {
	if a.IsResourceRequest() {
		return matches(p.Namespace, a.GetNamespace()) && matches(p.Resource, a.GetResource()) && matches(p.APIGroup, a.GetAPIGroup())
	}
	if strings.HasSuffix(p.NonResourcePath, wildcard) {
		return strings.HasPrefix(a.GetPath(), strings.TrimRight(p.NonResourcePath, wildcard))
	}
	return p.NonResourcePath == a.GetPath()
}

func matches(wanted, is string) bool { return wanted == wildcard || wanted == is }

// RulesFor implements authorizer.RuleResolver.
func (ps Policies) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	for i := range ps {
		p := &ps[i]
		if !p.isFor(u) || !matches(p.Namespace, namespace) {
			continue
		}
		if p.Resource != "" {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: p.verbs(), APIGroups: []string{p.APIGroup}, Resources: []string{p.Resource}})
		}
		if p.NonResourcePath != "" {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: p.verbs(), NonResourceURLs: []string{p.NonResourcePath}})
		}
	}
	return resources, urls, false, nil
}

func (p *Policy) verbs() []string {
	if p.Readonly {
		return []string{"get", "list", "watch"}
	}
	return []string{wildcard}
}
