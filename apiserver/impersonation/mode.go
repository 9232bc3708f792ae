package impersonation

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const (
	associatedNode = "associated-node"
	nodePrefix     = "system:node:"
	// many is how many groups or extra values make one question about all of them worth trying first.
	many = 4
)

// A mode is one way of impersonating.
type mode struct {
	name    string // "" for the old way
	applies func(wanted *user.DefaultInfo, requestor user.Info) bool
}

// modes are in the order in which they are tried.
var modes = []mode{
	{associatedNode, func(w *user.DefaultInfo, requestor user.Info) bool { return nameOnly(w) && runsOn(requestor, w.Name) }},
	{"arbitrary-node", func(w *user.DefaultInfo, _ user.Info) bool { return nameOnly(w) && isNode(w.Name) }},
	{"serviceaccount", func(w *user.DefaultInfo, _ user.Info) bool { return nameOnly(w) && isServiceAccount(w.Name) }},
	{"user-info", func(w *user.DefaultInfo, _ user.Info) bool { return !isNode(w.Name) && !isServiceAccount(w.Name) }},
	{"", func(*user.DefaultInfo, user.Info) bool { return true }},
}

func (m *mode) constraint() string {
	if m.name == "" {
		return ""
	}
	return m.verb()
}

func (m *mode) verb() string {
	if m.name == "" {
		return "impersonate"
	}
	return "impersonate:" + m.name
}

// usersGroup is the API group in which users and groups are, as far as rules about impersonation go.
func (m *mode) usersGroup() string {
	if m.name == "" {
		return ""
	}
	return authenticationv1.GroupName
}

func nameOnly(u *user.DefaultInfo) bool {
	return u.UID == "" && len(u.Groups) == 0 && len(u.Extra) == 0
}

func nodeName(username string) (string, bool) {
	name, ok := strings.CutPrefix(username, nodePrefix)
	return name, ok && len(validation.NameIsDNSSubdomain(name, false)) == 0
}

func isNode(username string) bool {
	_, ok := nodeName(username)
	return ok
}

func isServiceAccount(username string) bool {
	_, _, err := serviceaccount.SplitUsername(username)
	return err == nil
}

// runsOn reports whether a requestor is a service account whose token is bound to the node of that user name.
func runsOn(requestor user.Info, username string) bool {
	node, ok := nodeName(username)
	on := requestor.GetExtra()[serviceaccount.NodeNameKey]
	return ok && isServiceAccount(requestor.GetName()) && len(on) == 1 && on[0] == node
}

// check asks everything that must be allowed before the requestor of a may be wanted in this mode.
func (j *Judge) check(ctx context.Context, m *mode, wanted *user.DefaultInfo, a authorizer.Attributes) (user.Info, error) {
	c := &checker{Judge: j, ctx: ctx, mode: m, requestor: a.GetUser()}
	if m.name == associatedNode {
		c.requestor = anyNode(c.requestor)
	}
	if m.name != "" {
		if err := c.allowed(&on{a, c.requestor, "impersonate-on:" + m.name + ":" + a.GetVerb()}); err != nil {
			return nil, err
		}
	}
	u := *wanted
	if err := c.name(&u); err != nil {
		return nil, err
	}
	if wanted.UID != "" {
		if err := c.ask(authenticationv1.GroupName, "uids", "", "", wanted.UID); err != nil {
			return nil, err
		}
	}
	if err := c.groups(wanted.Groups); err != nil {
		return nil, err
	}
	if err := c.extra(wanted.Extra); err != nil {
		return nil, err
	}
	switch {
	case u.Name == user.Anonymous:
		u.Groups = with(u.Groups, user.AllUnauthenticated)
	case !slices.Contains(u.Groups, user.AllUnauthenticated):
		u.Groups = with(u.Groups, user.AllAuthenticated)
	}
	return &u, nil
}

func with(groups []string, group string) []string {
	if slices.Contains(groups, group) {
		return groups
	}
	return append(slices.Clip(groups), group)
}

// on is a request with a verb of its own and another requestor.
type on struct {
	authorizer.Attributes
	user user.Info
	verb string
}

// GetVerb implements authorizer.Attributes.
func (o *on) GetVerb() string { return o.verb }

// GetUser implements authorizer.Attributes.
func (o *on) GetUser() user.Info { return o.user }

// anyNode is a service account without what differs between the nodes that it runs on: what it may do as its own node
// is the same on each.
func anyNode(u user.Info) user.Info {
	return &user.DefaultInfo{Name: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: map[string][]string{
		"authentication.kubernetes.io/associated-node-keys": slices.Sorted(maps.Keys(u.GetExtra()))}}
}

// A checker asks about one impersonation.
type checker struct {
	*Judge
	ctx       context.Context
	mode      *mode
	requestor user.Info
}

func (c *checker) allowed(a authorizer.Attributes) error {
	decision, reason, err := c.authorizer.Authorize(c.ctx, a)
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case apierrors.IsForbidden(err):
		return err
	case err != nil && reason != "":
		reason = fmt.Sprintf("%v: %s", err, reason)
	case err != nil:
		reason = err.Error()
	}
	return c.forbidden(a, reason)
}

func (c *checker) attributes(group, resource, sub, namespace, name string) *authorizer.AttributesRecord {
	return &authorizer.AttributesRecord{User: c.requestor, Verb: c.mode.verb(), APIGroup: group, APIVersion: "v1", Resource: resource,
		Subresource: sub, Namespace: namespace, Name: name, ResourceRequest: true}
}

func (c *checker) ask(group, resource, sub, namespace, name string) error {
	return c.allowed(c.attributes(group, resource, sub, namespace, name))
}

// name asks about the user name, and gives nodes and service accounts the groups that they always have.
func (c *checker) name(u *user.DefaultInfo) error {
	group, constrained := c.mode.usersGroup(), c.mode.name != ""
	if node, ok := nodeName(u.Name); ok && constrained {
		u.Groups = []string{user.NodesGroup}
		if c.mode.name == associatedNode {
			node = "*"
		}
		return c.ask(group, "nodes", "", "", node)
	}
	if namespace, name, err := serviceaccount.SplitUsername(u.Name); err == nil {
		if len(u.Groups) == 0 {
			u.Groups = serviceaccount.MakeGroupNames(namespace)
		}
		return c.ask(group, "serviceaccounts", "", namespace, name)
	}
	return c.ask(group, "users", "", "", u.Name)
}

func (c *checker) groups(groups []string) error {
	group := c.mode.usersGroup()
	if c.mode.name != "" {
		switch {
		case slices.Contains(groups, ""):
			return c.forbidden(c.attributes(group, "groups", "", "", ""), "impersonating the empty string group is not allowed")
		case slices.Contains(groups, user.SystemPrivilegedGroup):
			return c.forbidden(c.attributes(group, "groups", "", "", user.SystemPrivilegedGroup), "impersonating the system:masters group is not allowed")
		case len(groups) >= many && c.ask(group, "groups", "", "", "*") == nil:
			return nil
		}
	}
	for _, g := range groups {
		if err := c.ask(group, "groups", "", "", g); err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) extra(extra map[string][]string) error {
	const group, resource = authenticationv1.GroupName, "userextras"
	if c.mode.name != "" && len(extra) > 0 {
		count := 0
		for key, values := range extra {
			count += len(values)
			if err := validExtra(key, values); err != nil {
				return c.forbidden(c.attributes(group, resource, "", "", ""), err.Error())
			}
		}
		if max(count, len(extra)) >= many && c.ask(group, resource, "*", "", "*") == nil {
			return nil
		}
	}
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		for _, value := range extra[key] {
			if err := c.ask(group, resource, key, "", value); err != nil {
				return err
			}
		}
	}
	return nil
}

// validExtra refuses what only the old way allows.
func validExtra(key string, values []string) error {
	if key == "" {
		return fmt.Errorf("impersonating the empty string key in extra is not allowed")
	}
	if faults := utilvalidation.IsDomainPrefixedPath(field.NewPath("extra", "key"), key); len(faults) > 0 {
		return fmt.Errorf("impersonating an invalid key in extra is not allowed: %w", faults.ToAggregate())
	}
	switch {
	case key != strings.ToLower(key):
		return fmt.Errorf("impersonating a non-lowercase key in extra is not allowed: %q", key)
	case len(values) == 0:
		return fmt.Errorf("impersonating empty values in extra is not allowed")
	case slices.Contains(values, ""):
		return fmt.Errorf("impersonating the empty string value in extra is not allowed")
	}
	return nil
}
