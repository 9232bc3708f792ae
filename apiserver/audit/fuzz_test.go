package audit

import (
	"os"
	"path/filepath"
	"testing"

	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// FuzzPolicy: a policy file that upstream refuses is refused, and by any other every request is recorded or not as it says.
func FuzzPolicy(f *testing.F) {
	const header = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"
	for _, rules := range []string{
		"rules: [{level: Metadata}]\n", "rules: []\n", "rules:\n- {level: Nothing}\n", "rules: [{level: None, verbs: [get], nonResourceURLs: ['/healthz*', '*']}]\n",
		"omitStages: [RequestReceived]\nrules:\n- {level: RequestResponse, users: [ann], userGroups: [g], namespaces: [''], resources: [{group: '', resources: [pods/*, '*/log'], resourceNames: [p]}], omitManagedFields: true}\n- {level: Request, more: 1}\n",
		"rules: [{level: Metadata, nonResourceURLs: ['a*b'], resources: [{resources: ['']}]}]\n", "omitStages: [x]\nrules: [{level: Metadata, omitStages: [Panic, y]}]\n",
	} {
		f.Add([]byte(header + rules))
	}
	f.Add([]byte("apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: Metadata}]\n"))
	f.Add([]byte(`{"apiVersion":"audit.k8s.io/v1","kind":"Event"}`))
	dir := f.TempDir()
	o := DefaultOptions()
	o.PolicyFile, o.Log.Path = filepath.Join(dir, "policy"), filepath.Join(dir, "log")
	ann := &user.DefaultInfo{Name: "ann", Groups: []string{"g"}}
	requests := []*authorizer.AttributesRecord{
		{User: ann, Verb: "get", Path: "/healthz/etcd"},
		{User: ann, Verb: "get", APIVersion: "v1", Resource: "pods", Subresource: "log", Namespace: "ns", Name: "p", ResourceRequest: true},
		{User: &user.DefaultInfo{}, Verb: "create", APIGroup: "apps", APIVersion: "v1", Resource: "deployments", ResourceRequest: true},
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(o.PolicyFile, text, 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := New(o)
		said, theirs := policy.LoadPolicyFromBytes(text)
		if (err == nil) != (theirs == nil) || err == nil && a == nil {
			t.Fatalf("%q: %v, upstream %v", text, err, theirs)
		}
		if err != nil {
			return
		}
		if len(said.Rules) == 0 {
			t.Errorf("%q: nothing is said about anything", text)
		}
		for _, r := range requests {
			rule := policy.NewPolicyRuleEvaluator(said).EvaluatePolicyRule(r)
			_, ac, recorded := a.Begin(t.Context(), r)
			if recorded != (rule.Level != auditinternal.LevelNone) || recorded && ac == nil || a.OmitsManagedFields(r) != rule.OmitManagedFields {
				t.Errorf("%q: %+v is recorded: %v, upstream %+v", text, r, recorded, rule)
			}
		}
	})
}
