package authz

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"clipper/api/apitest"
	"clipper/apiserver/configfile/configfiletest"
)

// A hook is a webhook that allows one user, denies another, and knows nothing of the rest.
type hook struct {
	*httptest.Server
	asked atomic.Int64
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.asked.Add(1)
		var review authorizationv1.SubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		switch review.Spec.User {
		case "ann":
			review.Status.Allowed = true
		case "bob":
			review.Status.Denied, review.Status.Reason = true, "not bob"
		case "cid":
			w.WriteHeader(http.StatusTeapot)
			return
		}
		json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) kubeconfig(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: '" + h.URL + "'}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]\nusers: [{name: a}]\ncurrent-context: a\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func writeFile(t *testing.T, path, authorizers string) {
	t.Helper()
	text := "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [" + authorizers + "]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name}, Verb: "get", Resource: "pods", Namespace: "ns", APIVersion: "v1", ResourceRequest: true}
}

func TestWebhookChain(t *testing.T) {
	h := newHook(t)
	file := filepath.Join(t.TempDir(), "authz.yaml")
	one := func(policy, conditions string) string {
		return "{type: Webhook, name: hook, webhook: {timeout: 3s, authorizedTTL: 30s, unauthorizedTTL: 30s, failurePolicy: " + policy +
			", subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, matchConditions: [" + conditions + "], connectionInfo: {type: KubeConfigFile, kubeConfigFile: " + h.kubeconfig(t) + "}}}"
	}
	always := ", {type: AlwaysAllow, name: alwaysallow}"
	for _, tt := range []struct {
		name, config, user string
		want               authorizer.Decision
		asked              int64
	}{
		{"allowed", one("NoOpinion", ""), "ann", authorizer.DecisionAllow, 1},
		{"denied, whatever follows", one("NoOpinion", "") + always, "bob", authorizer.DecisionDeny, 1},
		{"unknown, what follows decides", one("NoOpinion", "") + always, "dan", authorizer.DecisionAllow, 1},
		{"out of order, no opinion", one("NoOpinion", "") + always, "cid", authorizer.DecisionAllow, 1},
		{"out of order, denied", one("Deny", "") + always, "cid", authorizer.DecisionDeny, 1},
		{"not matched", one("Deny", "{expression: \"request.user == 'eve'\"}"), "ann", authorizer.DecisionNoOpinion, 0},
		{"matched", one("Deny", "{expression: \"request.user == 'ann'\"}"), "ann", authorizer.DecisionAllow, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			writeFile(t, file, tt.config)
			a, err := Configured(&apitest.Client{}, Options{File: file})
			if err != nil {
				t.Fatal(err)
			}
			before := h.asked.Load()
			for range 2 { // the second time from the cache, unless it was out of order
				d, reason, err := a.Authorize(t.Context(), get(tt.user))
				if d != tt.want || tt.user == "bob" && reason != "not bob" {
					t.Errorf("%v %q %v", d, reason, err)
				}
			}
			if n := h.asked.Load() - before; tt.user != "cid" && n != tt.asked {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

func TestReloadKeepsWhatMustBeThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "authz.yaml")
	writeFile(t, file, "{type: RBAC, name: rbac}")
	a, err := Configured(&apitest.Client{}, Options{File: file})
	if err != nil {
		t.Fatal(err)
	}
	allowed := func() bool {
		d, _, _ := a.Authorize(t.Context(), get("ann"))
		return d == authorizer.DecisionAllow
	}
	for bad, want := range map[string]string{
		"{type: AlwaysAllow, name: alwaysallow}":             "missing required types: [RBAC]",
		"{type: RBAC, name: other}":                          "expected name rbac for authorizer RBAC instead of other",
		"{type: RBAC, name: rbac}, {type: RBAC, name: rbac}": "Duplicate value",
		"{type: RBAC, name: rbac}, {type: Nope, name: nope}": "Unsupported value",
		"{type: RBAC, name: rbac}, {type: ABAC, name: abac}": "no such file",
		"{type: RBAC, name: rbac, nonsense: 1}":              "unknown field",
		"{type: RBAC, name: rbac}, {type: Webhook, name: w}": "webhook",
	} {
		writeFile(t, file, bad)
		if err := a.reload(); err == nil || !strings.Contains(err.Error(), want) || allowed() {
			t.Errorf("%s: %v", bad, err)
		}
	}
	writeFile(t, file, "{type: RBAC, name: rbac}, {type: AlwaysAllow, name: alwaysallow}")
	if err := a.reload(); err != nil || !allowed() {
		t.Errorf("not taken over: %v", err)
	}
	if got := configfiletest.Reloads(t, "apiserver_authorization_config_controller_automatic_reloads_total"); got["failure"] != 7 || got["success"] != 1 {
		t.Errorf("counted: %v", got)
	}
}

func TestModes(t *testing.T) {
	policy := filepath.Join(t.TempDir(), "policy")
	if err := os.WriteFile(policy, []byte(`{"user":"ann","namespace":"ns","resource":"pods","readonly":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		o    Options
		want authorizer.Decision
		err  string
	}{
		{Options{}, authorizer.DecisionNoOpinion, ""},
		{Options{Modes: []string{"RBAC", "AlwaysAllow"}}, authorizer.DecisionAllow, ""},
		{Options{Modes: []string{"AlwaysDeny"}}, authorizer.DecisionNoOpinion, ""},
		{Options{Modes: []string{"Nonsense"}}, 0, `authorization-mode "Nonsense" is not a valid mode`},
		{Options{Modes: []string{"RBAC", "RBAC"}}, 0, "has mode specified more than once"},
		{Options{Modes: []string{"Webhook"}}, 0, "config file not passed"},
		{Options{Webhook: WebhookOptions{File: "x", Version: "v1", AuthorizedTTL: time.Minute}}, 0, "without mode Webhook"},
		{Options{Modes: []string{"RBAC", "ABAC"}, Policy: policy}, authorizer.DecisionAllow, ""},
		{Options{Modes: []string{"ABAC"}}, 0, "authorization-mode ABAC's authorization policy file not passed"},
		{Options{Policy: policy}, 0, "cannot specify --authorization-policy-file without mode ABAC"},
		{Options{Modes: []string{"ABAC"}, Policy: policy + "x"}, 0, "no such file"},
		{Options{Modes: []string{"RBAC"}, File: "x"}, 0, "can not be specified when"},
	} {
		a, err := Configured(&apitest.Client{}, tt.o)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%+v: %v", tt.o, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if d, _, _ := a.Authorize(t.Context(), get("ann")); d != tt.want {
			t.Errorf("%+v: %v", tt.o, d)
		}
	}
}

// FuzzDecode: a configuration is refused, or keeps what it must and names everything it asks once.
func FuzzDecode(f *testing.F) {
	const header = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\n"
	const hook = "{type: Webhook, name: %s, webhook: {timeout: 3s, failurePolicy: NoOpinion, subjectAccessReviewVersion: v1, matchConditionSubjectAccessReviewVersion: v1, authorizedTTL: 1m, unauthorizedTTL: 1m, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /dev/null}, matchConditions: [%s]}}"
	for _, text := range []string{
		header + "authorizers: [{type: RBAC, name: rbac}]\n", header + "authorizers: [{type: Node, name: node}, {type: RBAC, name: rbac}]\n", header + "authorizers: [{type: RBAC, name: x}, {type: RBAC, name: x}]\n",
		header + "authorizers: [" + fmt.Sprintf(hook, "one.example.com", "{expression: has(request.resourceAttributes)}, {expression: 'request.user == \"a\" && !(\"g\" in request.groups)'}") + ", {type: RBAC, name: rbac}]\n",
		header + "authorizers: [" + fmt.Sprintf(hook, "a", "{expression: 'request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 1)'}") + "]\n",
		header + "authorizers: []\nmore: 1\n", "apiVersion: apiserver.config.k8s.io/v1beta1\nkind: AuthorizationConfiguration\nauthorizers: [{type: AlwaysAllow, name: alwaysallow}]\n", "", "authorizers: &a [*a]",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		config, err := decode(text, []apiserver.AuthorizerType{ModeRBAC})
		if err != nil {
			return
		}
		names, kept := map[string]bool{}, false
		for _, one := range config.Authorizers {
			if names[one.Name] || (one.Webhook != nil) != (one.Type == ModeWebhook) {
				t.Errorf("%q: %+v", text, one)
			}
			names[one.Name], kept = true, kept || one.Type == ModeRBAC
		}
		if !kept {
			t.Errorf("%q: what is required is missing", text)
		}
	})
}
