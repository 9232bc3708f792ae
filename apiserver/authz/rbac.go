package authz

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api"
)

// RBAC authorizes by roles and bindings. From the bindings it keeps, for each user and group, the list of
// what is granted; the list is made anew by the first request after any role or binding changed, and
// costs nothing in between.
type RBAC struct {
	roles               api.TypedView[*rbacv1.Role]
	roleBindings        api.TypedView[*rbacv1.RoleBinding]
	clusterRoles        api.TypedView[*rbacv1.ClusterRole]
	clusterRoleBindings api.TypedView[*rbacv1.ClusterRoleBinding]
	views               [4]api.View

	current atomic.Pointer[grants]
	remake  sync.Mutex // held while current is made anew, so that one request does the work
}

// NewRBAC returns an authorizer by the roles and bindings that c sees.
func NewRBAC(c api.Client) *RBAC {
	r := &RBAC{
		roles:               api.Roles.View(c),
		roleBindings:        api.RoleBindings.View(c),
		clusterRoles:        api.ClusterRoles.View(c),
		clusterRoleBindings: api.ClusterRoleBindings.View(c),
	}
	r.views = [4]api.View{r.roles.View, r.roleBindings.View, r.clusterRoles.View, r.clusterRoleBindings.View}
	return r
}

// grants is everything that the bindings of one moment give away. It never changes.
type grants struct {
	versions   [4]int64
	cluster    bySubject
	namespaces map[string]bySubject
}

// bySubject files grants under users (service accounts by their user name) and groups, in binding order.
type bySubject struct{ users, groups map[string][]*grant }

// A grant is one binding seen by one of its subjects.
type grant struct {
	rules  []rbacv1.PolicyRule // the role's own; read-only
	err    error               // the role does not exist: said to those whom the binding names
	source string              // `ClusterRoleBinding "a" of ClusterRole "b" to `, the subject follows
	who    *rbacv1.Subject
	ns     string // of the binding
	reason atomic.Pointer[string]
}

// allowed is the reason shown in access reviews and audit logs; made when first asked for.
func (g *grant) allowed() string {
	if s := g.reason.Load(); s != nil {
		return *s
	}
	s := "RBAC: allowed by " + g.source + describe(g.who, g.ns)
	g.reason.Store(&s)
	return s
}

func describe(s *rbacv1.Subject, bindingNamespace string) string {
	name := s.Name
	if s.Kind == rbacv1.ServiceAccountKind {
		if bindingNamespace == "" || s.Namespace != "" {
			bindingNamespace = s.Namespace
		}
		name += "/" + bindingNamespace
	}
	return fmt.Sprintf("%s %q", s.Kind, name)
}

// Authorize allows what some rule of some binding of the user covers.
func (r *RBAC) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "", nil
	}
	var faults []error
	for g := range r.grants().of(u, a.GetNamespace()) {
		if g.err != nil {
			faults = append(faults, g.err)
			continue
		}
		for i := range g.rules {
			if ruleAllows(a, &g.rules[i]) {
				return authorizer.DecisionAllow, g.allowed(), nil
			}
		}
	}
	if err := utilerrors.NewAggregate(faults); err != nil {
		return authorizer.DecisionNoOpinion, "RBAC: " + err.Error(), nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// Rules returns all that u is granted in a namespace; the error names roles that could not be resolved,
// beside rules that could.
func (r *RBAC) Rules(u user.Info, namespace string) (rules []rbacv1.PolicyRule, err error) {
	var faults []error
	seen := map[string]bool{} // a binding that names both the user and a group of his counts once
	for g := range r.grants().of(u, namespace) {
		if seen[g.source] {
			continue
		}
		seen[g.source] = true
		if g.err != nil {
			faults = append(faults, g.err)
		}
		rules = append(rules, g.rules...)
	}
	return rules, utilerrors.NewAggregate(faults)
}

// RulesFor lists what Rules returns, divided by what it is about.
func (r *RBAC) RulesFor(_ context.Context, u user.Info, namespace string) (resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo, incomplete bool, err error) {
	rules, err := r.Rules(u, namespace)
	for i := range rules {
		rule := &rules[i]
		if len(rule.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames})
		}
		if len(rule.NonResourceURLs) > 0 {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return resources, urls, false, err
}

// of yields the grants of u: cluster-wide ones, then those of the namespace, if there is one.
func (g *grants) of(u user.Info, namespace string) func(yield func(*grant) bool) {
	return func(yield func(*grant) bool) {
		if !g.cluster.visit(u, yield) || namespace == "" {
			return
		}
		if ns, ok := g.namespaces[namespace]; ok {
			ns.visit(u, yield)
		}
	}
}

func (b bySubject) visit(u user.Info, yield func(*grant) bool) bool {
	for _, g := range b.users[u.GetName()] {
		if !yield(g) {
			return false
		}
	}
	for _, group := range u.GetGroups() {
		for _, g := range b.groups[group] {
			if !yield(g) {
				return false
			}
		}
	}
	return true
}

// grants returns what is granted now, making it anew if a role or binding has changed.
func (r *RBAC) grants() *grants {
	v, known := r.versions()
	if g := r.current.Load(); known && g != nil && g.versions == v {
		return g
	}
	r.remake.Lock()
	defer r.remake.Unlock()
	v, known = r.versions() // read before the objects: what is read may be newer, never older
	if g := r.current.Load(); known && g != nil && g.versions == v {
		return g
	}
	g := r.collect()
	g.versions = v
	r.current.Store(g)
	return g
}

// versions returns the state of the four views; known is false if a view cannot tell.
func (r *RBAC) versions() (v [4]int64, known bool) {
	for i, view := range r.views {
		versioned, ok := view.(api.Versioned)
		if !ok {
			return v, false
		}
		v[i] = versioned.Version()
	}
	return v, true
}

func (r *RBAC) collect() *grants {
	g := &grants{cluster: newBySubject(), namespaces: map[string]bySubject{}}
	for _, b := range r.clusterRoleBindings.List("") {
		r.file(g.cluster, "ClusterRoleBinding", b.Name, "", b.RoleRef, b.Subjects)
	}
	for _, b := range r.roleBindings.List("") {
		ns, ok := g.namespaces[b.Namespace]
		if !ok {
			ns = newBySubject()
			g.namespaces[b.Namespace] = ns
		}
		r.file(ns, "RoleBinding", b.Name+"/"+b.Namespace, b.Namespace, b.RoleRef, b.Subjects)
	}
	return g
}

func newBySubject() bySubject {
	return bySubject{users: map[string][]*grant{}, groups: map[string][]*grant{}}
}

// file puts one binding under each of its subjects.
func (r *RBAC) file(into bySubject, kind, shown, ns string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	if len(subjects) == 0 {
		return
	}
	rules, err := r.roleRules(ref, ns)
	source := fmt.Sprintf("%s %q of %s %q to ", kind, shown, ref.Kind, ref.Name)
	for i := range subjects {
		s := &subjects[i]
		g := &grant{rules: rules, err: err, source: source, who: s, ns: ns}
		switch s.Kind {
		case rbacv1.UserKind:
			into.users[s.Name] = append(into.users[s.Name], g)
		case rbacv1.GroupKind:
			into.groups[s.Name] = append(into.groups[s.Name], g)
		case rbacv1.ServiceAccountKind:
			saNS := s.Namespace
			if saNS == "" {
				saNS = ns
			}
			if saNS != "" {
				name := serviceaccount.MakeUsername(saNS, s.Name)
				into.users[name] = append(into.users[name], g)
			}
		}
	}
}

// roleRules returns the rules of a role; the error is a NotFound in the words of upstream's listers.
func (r *RBAC) roleRules(ref rbacv1.RoleRef, bindingNamespace string) ([]rbacv1.PolicyRule, error) {
	switch ref.Kind {
	case "Role":
		if role, ok := r.roles.Get(bindingNamespace, ref.Name); ok {
			return role.Rules, nil
		}
	case "ClusterRole":
		if role, ok := r.clusterRoles.Get("", ref.Name); ok {
			return role.Rules, nil
		}
	default:
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Group: rbacv1.GroupName, Resource: strings.ToLower(ref.Kind)}, ref.Name)
}
