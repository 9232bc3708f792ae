package abac

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// examples are policies of both versions: those of upstream's documentation, and some that mean little.
const examples = `
# who administers, who reads
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"alice","namespace":"*","resource":"*","apiGroup":"*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"bob","namespace":"projectCaribou","resource":"pods","readonly":true}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"system:authenticated","readonly":true,"nonResourcePath":"/api*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"*","readonly":true,"nonResourcePath":"/version"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"cid","group":"staff","namespace":"*","resource":"deployments","apiGroup":"apps"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"namespace":"*","resource":"*","apiGroup":"*"}}

{"user":"dan","namespace":"old"}
{"group":"ops"}
  {"kind":"Policy","user":"eve","resource":"services","readonly":true}
`

func ask(name, groups, verb, group, resource, namespace string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name, Groups: strings.Fields(groups)}, Verb: verb,
		APIGroup: group, Resource: resource, Namespace: namespace, ResourceRequest: true}
}

func askPath(name, groups, verb, path string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name, Groups: strings.Fields(groups)}, Verb: verb, Path: path}
}

func TestAuthorize(t *testing.T) {
	ps, unversioned, err := read(strings.NewReader(examples))
	if err != nil || !unversioned || len(ps) != 9 {
		t.Fatalf("%d policies, %v, %v", len(ps), unversioned, err)
	}
	const known = user.AllAuthenticated
	for name, tt := range map[string]struct {
		ask  authorizer.Attributes
		want bool
	}{
		"the administrator":                     {ask("alice", known, "delete", "apps", "deployments", "a"), true},
		"reads in the namespace":                {ask("bob", known, "get", "", "pods", "projectCaribou"), true},
		"writes in the namespace":               {ask("bob", known, "update", "", "pods", "projectCaribou"), false},
		"reads elsewhere":                       {ask("bob", known, "list", "", "pods", "other"), false},
		"another resource":                      {ask("bob", known, "list", "", "secrets", "projectCaribou"), false},
		"another group of the API":              {ask("bob", known, "list", "metrics.k8s.io", "pods", "projectCaribou"), false},
		"discovery":                             {askPath("bob", known, "get", "/apis"), true},
		"discovery, written":                    {askPath("bob", known, "post", "/apis"), false},
		"discovery, by a stranger":              {askPath("x", user.AllUnauthenticated, "get", "/apis"), false},
		"each user has shown who they are":      {askPath("x", user.AllUnauthenticated, "get", "/version"), false},
		"and may":                               {askPath("x", known, "get", "/version"), true},
		"a path that only begins so":            {askPath("x", known, "get", "/versions"), false},
		"user and group":                        {ask("cid", known+" staff", "create", "apps", "deployments", "a"), true},
		"the user alone":                        {ask("cid", known, "create", "apps", "deployments", "a"), false},
		"the group alone":                       {ask("x", known+" staff", "create", "apps", "deployments", "a"), false},
		"a policy of nobody":                    {ask("x", known, "get", "", "pods", "a"), false},
		"the first version, in its namespace":   {ask("dan", known, "create", "apps", "deployments", "old"), true},
		"the first version, elsewhere":          {ask("dan", known, "create", "apps", "deployments", "new"), false},
		"the first version, no path":            {askPath("dan", known, "get", "/metrics"), false},
		"the first version, everything":         {ask("x", "ops", "delete", "", "nodes", ""), true},
		"the first version, paths as well":      {askPath("x", "ops", "get", "/metrics"), true},
		"the first version, one resource":       {ask("eve", known, "list", "", "services", "any"), true},
		"the first version, one resource read":  {ask("eve", known, "patch", "", "services", "any"), false},
		"the first version, one resource alone": {ask("eve", known, "list", "", "pods", "any"), false},
		"nobody at all":                         {authorizer.AttributesRecord{Verb: "get", Path: "/version"}, false},
	} {
		want, wantReason := authorizer.DecisionNoOpinion, "No policy matched."
		if tt.want {
			want, wantReason = authorizer.DecisionAllow, ""
		}
		if got, reason, err := ps.Authorize(context.Background(), tt.ask); got != want || reason != wantReason || err != nil {
			t.Errorf("%s: %v %q %v", name, got, reason, err)
		}
	}
}

func TestRulesFor(t *testing.T) {
	ps, _, err := read(strings.NewReader(examples))
	if err != nil {
		t.Fatal(err)
	}
	resources, urls, incomplete, err := ps.RulesFor(context.Background(), &user.DefaultInfo{Name: "bob", Groups: []string{user.AllAuthenticated, "ops"}}, "projectCaribou")
	if err != nil || incomplete || len(resources) != 2 || len(urls) != 1 {
		t.Fatalf("%v %v %v %v", resources, urls, incomplete, err)
	}
	if r := resources[0]; strings.Join(r.GetVerbs(), " ") != "get list watch" || r.GetResources()[0] != "pods" || r.GetAPIGroups()[0] != "" {
		t.Errorf("%+v", r)
	}
	if u := urls[0]; u.GetVerbs()[0] != "*" || u.GetNonResourceURLs()[0] != "*" {
		t.Errorf("%+v", u)
	}
}

func TestLoadFaults(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policies")
	for text, want := range map[string]string{
		"\n{\"user\":1}": "error reading policy file " + file + ", line 2: {\"user\":1}: json: cannot unmarshal number",
		`{"user":"a"`:    ", line 1: {\"user\":\"a\": ",
		`a,pods,*`:       ", line 1: a,pods,*: json: cannot unmarshal string",
		`{"kind":"Pod"}`: `no kind "Pod" is registered for version ""`,
		`{"apiVersion":"abac.authorization.kubernetes.io/v1","kind":"Policy"}`: `no kind "Policy" is registered for version "abac.authorization.kubernetes.io/v1"`,
		strings.Repeat("a", 70_000): "error reading policy file " + file + ": bufio.Scanner: token too long",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if ps, err := Load(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, %v", text, ps, err)
		}
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

// FuzzRead: no file of policies lets somebody in of whom nothing is said.
func FuzzRead(f *testing.F) {
	f.Add([]byte(examples))
	f.Add([]byte(`{user: dan, namespace: &a [*a]}`))
	stranger := askPath(rand.Text(), rand.Text(), "get", "/")
	f.Fuzz(func(t *testing.T, file []byte) {
		ps, _, err := read(bytes.NewReader(file))
		if err != nil {
			return
		}
		if got, _, _ := ps.Authorize(context.Background(), stranger); got != authorizer.DecisionNoOpinion {
			t.Errorf("%q lets a stranger in", file)
		}
	})
}
