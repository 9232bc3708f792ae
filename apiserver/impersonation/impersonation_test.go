package impersonation

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/features"
	featuregatetesting "k8s.io/component-base/featuregate/testing"

	"clipper/apiserver/feature"
)

// rules allows "verb group/resource[/sub] [namespace/]name", where * is any word.
type rules []string

func (r rules) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	resource, name := a.GetAPIGroup()+"/"+a.GetResource(), a.GetName()
	if s := a.GetSubresource(); s != "" {
		resource += "/" + s
	}
	if ns := a.GetNamespace(); ns != "" {
		name = ns + "/" + name
	}
	if slices.Contains(r, a.GetVerb()+" "+resource+" "+name) || slices.Contains(r, a.GetVerb()+" "+resource+" any") {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

func judge(r rules) *Judge {
	return NewJudge(r, func(a authorizer.Attributes, reason string) error {
		return fmt.Errorf("%s cannot %s %s %s%s", a.GetUser().GetName(), a.GetVerb(), a.GetResource(), a.GetName(), reason)
	})
}

func TestModes(t *testing.T) {
	const auth = "authentication.k8s.io"
	agent := &user.DefaultInfo{Name: "system:serviceaccount:ns:agent", Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}}
	ann := &user.DefaultInfo{Name: "ann"}
	for _, tt := range []struct {
		name       string
		requestor  user.Info
		wanted     user.DefaultInfo
		rules      rules
		groups     []string
		constraint string
		err        string
	}{
		{name: "the old way", requestor: ann, wanted: user.DefaultInfo{Name: "bob", Groups: []string{"g"}, UID: "7", Extra: map[string][]string{"k": {"v"}}},
			rules:  rules{"impersonate /users bob", "impersonate /groups g", "impersonate " + auth + "/uids 7", "impersonate " + auth + "/userextras/k v"},
			groups: []string{"g", "system:authenticated"}},
		{name: "user", requestor: ann, wanted: user.DefaultInfo{Name: "bob", Groups: []string{"g"}}, constraint: "impersonate:user-info",
			rules:  rules{"impersonate-on:user-info:list /pods any", "impersonate:user-info " + auth + "/users bob", "impersonate:user-info " + auth + "/groups g"},
			groups: []string{"g", "system:authenticated"}},
		{name: "user, for another verb", requestor: ann, wanted: user.DefaultInfo{Name: "bob"},
			rules: rules{"impersonate-on:user-info:get /pods any", "impersonate:user-info " + auth + "/users bob"},
			err:   "ann cannot impersonate-on:user-info:list pods"},
		{name: "masters only the old way", requestor: ann, wanted: user.DefaultInfo{Name: "bob", Groups: []string{"system:masters"}},
			rules: rules{"impersonate-on:user-info:list /pods any", "impersonate:user-info " + auth + "/users bob", "impersonate:user-info " + auth + "/groups any"},
			err:   "impersonating the system:masters group is not allowed"},
		{name: "many groups by one rule", requestor: ann, wanted: user.DefaultInfo{Name: "bob", Groups: []string{"a", "b", "c", "d"}}, constraint: "impersonate:user-info",
			rules:  rules{"impersonate-on:user-info:list /pods any", "impersonate:user-info " + auth + "/users bob", "impersonate:user-info " + auth + "/groups *"},
			groups: []string{"a", "b", "c", "d", "system:authenticated"}},
		{name: "service account", requestor: ann, wanted: user.DefaultInfo{Name: "system:serviceaccount:ns:x"}, constraint: "impersonate:serviceaccount",
			rules:  rules{"impersonate-on:serviceaccount:list /pods any", "impersonate:serviceaccount " + auth + "/serviceaccounts ns/x"},
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"}},
		{name: "own node", requestor: agent, wanted: user.DefaultInfo{Name: "system:node:n1"}, constraint: "impersonate:associated-node",
			rules:  rules{"impersonate-on:associated-node:list /pods any", "impersonate:associated-node " + auth + "/nodes *"},
			groups: []string{"system:nodes", "system:authenticated"}},
		{name: "not the own node", requestor: agent, wanted: user.DefaultInfo{Name: "system:node:n2"},
			rules: rules{"impersonate-on:associated-node:list /pods any", "impersonate:associated-node " + auth + "/nodes *"},
			err:   "cannot impersonate-on:arbitrary-node:list pods"},
		{name: "any node", requestor: ann, wanted: user.DefaultInfo{Name: "system:node:n2"}, constraint: "impersonate:arbitrary-node",
			rules:  rules{"impersonate-on:arbitrary-node:list /pods any", "impersonate:arbitrary-node " + auth + "/nodes n2"},
			groups: []string{"system:nodes", "system:authenticated"}},
		{name: "anonymous", requestor: ann, wanted: user.DefaultInfo{Name: "system:anonymous"}, rules: rules{"impersonate /users any"}, groups: []string{"system:unauthenticated"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := authorizer.AttributesRecord{User: tt.requestor, Verb: "list", Resource: "pods", Namespace: "ns", ResourceRequest: true}
			j := judge(tt.rules)
			for range 2 { // the second time by the way that worked
				u, constraint, err := j.As(t.Context(), &tt.wanted, a)
				if tt.err != "" {
					if err == nil || !strings.Contains(err.Error(), tt.err) {
						t.Errorf("%v, %v", u, err)
					}
					continue
				}
				if err != nil || u.GetName() != tt.wanted.Name || !slices.Equal(u.GetGroups(), tt.groups) || constraint != tt.constraint {
					t.Errorf("%v, %q, %v", u, constraint, err)
				}
			}
		})
	}
}

// TestOldWayOnly: without the feature no constrained mode is tried, and refusals are the old way's.
func TestOldWayOnly(t *testing.T) {
	featuregatetesting.SetFeatureGateDuringTest(t, feature.Gate, features.ConstrainedImpersonation, false)
	a := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "ann"}, Verb: "list", Resource: "pods", ResourceRequest: true}
	constrained := rules{"impersonate-on:user-info:list /pods any", "impersonate:user-info authentication.k8s.io/users bob"}
	if u, _, err := judge(constrained).As(t.Context(), &user.DefaultInfo{Name: "bob"}, a); err == nil || !strings.Contains(err.Error(), "ann cannot impersonate users bob") {
		t.Errorf("%v, %v", u, err)
	}
	if _, constraint, err := judge(rules{"impersonate /users bob"}).As(t.Context(), &user.DefaultInfo{Name: "bob"}, a); err != nil || constraint != "" {
		t.Errorf("%q, %v", constraint, err)
	}
}

func TestWanted(t *testing.T) {
	h := http.Header{"Impersonate-User": {"bob"}, "Impersonate-Group": {"a", "b"}, "Impersonate-Uid": {"7"}, "Impersonate-Extra-Acme%2fteam": {"x"}, "Accept": {"y"}}
	u, err := Wanted(h)
	if err != nil || u.Name != "bob" || u.UID != "7" || !slices.Equal(u.Groups, []string{"a", "b"}) || u.Extra["acme/team"][0] != "x" || len(h) != 1 {
		t.Errorf("%+v %v %v", u, h, err)
	}
	if u, err := Wanted(http.Header{"Accept": {"y"}}); u != nil || err != nil {
		t.Errorf("%v %v", u, err)
	}
	if _, err := Wanted(http.Header{"Impersonate-Group": {"a"}}); err == nil || !strings.Contains(err.Error(), "without impersonating a user name") {
		t.Errorf("%v", err)
	}
}
