package credential

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const configHead = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n"

const oneProvider = configHead + `providers:
- name: tell
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.example.com"]
  defaultCacheDuration: 1h
  args: [one, two]
  env: [{name: GREETING, value: hello}]
`

const tokenProvider = oneProvider + `  tokenAttributes:
    serviceAccountTokenAudience: registry
    requireServiceAccount: true
    cacheType: ServiceAccount
    requiredServiceAccountAnnotationKeys: [example.com/role]
`

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"kind: Pod\napiVersion: v1\n":                      "wrong Kind",
		"kind: CredentialProviderConfig\napiVersion: v1\n": "unexpected apiVersion",
		configHead:                                                      "at least 1 item in plugins is required",
		configHead + "providers: [{nam: x}]":                            `unknown field "nam"`,
		configHead + "providers: [{name: a/b}]":                         "provider name cannot contain '/'",
		configHead + "providers: [{name: '..'}]":                        "provider name cannot be '..'",
		strings.Replace(oneProvider, "/v1\n  match", "/v9\n  match", 1): `supported values: "credentialprovider.kubelet.k8s.io/v1", `,
		strings.Replace(oneProvider, "1h", "-1h", 1):                    "must be greater than or equal to 0",
		strings.Replace(tokenProvider, "ServiceAccount\n", "Pod\n", 1):  `providers.tokenAttributes.cacheType: Unsupported value: "Pod"`,
		strings.Replace(tokenProvider, "requireServiceAccount: true", "requireServiceAccount: false", 1):   "requireServiceAccount cannot be false when",
		strings.Replace(tokenProvider, "kubelet.k8s.io/v1\n  match", "kubelet.k8s.io/v1beta1\n  match", 1): "tokenAttributes is only supported for credentialprovider.kubelet.k8s.io/v1",
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		write(t, file, text, 0o600)
		if _, err := readConfig(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ngot error %v, want %q", text, err, want)
		}
	}
}

func TestConfigFolder(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), oneProvider, 0o600)
	write(t, filepath.Join(dir, "a.json"), `{"apiVersion":"kubelet.config.k8s.io/v1beta1","kind":"CredentialProviderConfig","providers":[{"name":"first",
		"apiVersion":"credentialprovider.kubelet.k8s.io/v1beta1","matchImages":["r.io"],"defaultCacheDuration":"0s"}]}`, 0o600)
	write(t, filepath.Join(dir, "c.txt"), "not looked at", 0o600)
	c, err := readConfig(dir)
	if err != nil || len(c.Providers) != 2 || c.Providers[0].Name != "first" {
		t.Fatalf("got %+v, %v", c, err)
	}
	write(t, filepath.Join(dir, "d.yml"), oneProvider, 0o600)
	if _, err := readConfig(dir); err == nil || !strings.Contains(err.Error(), `duplicate provider name "tell"`) {
		t.Errorf("got error %v", err)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// cluster is one with the service account that a test says.
type cluster struct{ annotations map[string]string }

func (c cluster) ServiceAccount(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if name != "robot" {
		return nil, errors.New("no such account")
	}
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "sa-uid", Annotations: c.annotations}}, nil
}

func (c cluster) Token(_ context.Context, _ *corev1.ServiceAccount, pod *corev1.Pod, audience string) (string, error) {
	return "token-" + pod.Name + "-" + audience, nil
}

// rig is a finder with one plug-in, a shell script that notes its calls.
type rig struct {
	*Finder
	calls string
}

func newRig(t *testing.T, config, script string, accounts ServiceAccounts) *rig {
	dir := t.TempDir()
	calls := filepath.Join(dir, "calls")
	write(t, filepath.Join(dir, "config"), config, 0o600)
	write(t, filepath.Join(dir, "tell"), "#!/bin/sh\nin=$(cat)\necho \"$* $GREETING $in\" >>"+calls+"\n"+script+"\n", 0o700)
	f, err := Open(Config{Dirs: []string{dir}, ProviderConfig: filepath.Join(dir, "config"), ProviderDir: dir, Accounts: accounts})
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Finder: f, calls: calls}
}

// look returns the logins for a repository, in short.
func (r *rig) look(t *testing.T, pod *corev1.Pod, repository string) string {
	t.Helper()
	logins, err := r.Logins(t.Context(), pod, nil, repository)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range logins {
		s := l.Username + ":" + l.Password
		if l.ServiceAccount != nil {
			s += " of " + l.ServiceAccount.Namespace + "/" + l.ServiceAccount.Name
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func (r *rig) called(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(r.calls)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

func answer(fields string) string {
	return `echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",` + fields + `}'`
}

const auth = `"auth":{"*.example.com":{"username":"u","password":"p"}}`

func podOf(account string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "pod-uid"}, Spec: corev1.PodSpec{ServiceAccountName: account}}
}

func TestPluginIsAskedOnce(t *testing.T) {
	for kind, calls := range map[string]int{"Image": 3, "Registry": 2, "Global": 1} {
		r := newRig(t, oneProvider, answer(`"cacheKeyType":"`+kind+`",`+auth), nil)
		for _, repository := range []string{"a.example.com/x", "a.example.com/x", "a.example.com/y", "b.example.com/x"} {
			if got := r.look(t, podOf(""), repository); got != "u:p" {
				t.Errorf("%s: %s: got %q", kind, repository, got)
			}
		}
		if got := r.look(t, podOf(""), "elsewhere.org/x"); got != "" {
			t.Errorf("%s: the plug-in was asked about what does not match: %q", kind, got)
		}
		called := r.called(t)
		if len(called) != calls {
			t.Errorf("%s: called %d times: %q", kind, len(called), called)
		}
		want := `one two hello {"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"a.example.com/x"}`
		if called[0] != want {
			t.Errorf("asked %s\nwant  %s", called[0], want)
		}
	}
}

func TestPluginAnswersThatDoNotCount(t *testing.T) {
	for name, tc := range map[string]struct {
		script, want string
		calls        int
	}{
		"not to be kept":  {answer(`"cacheKeyType":"Global","cacheDuration":"0s",` + auth), "u:p", 2},
		"no key type":     {answer(auth), "", 2},
		"unknown key":     {answer(`"cacheKeyType":"Global","extra":1,` + auth), "", 2},
		"other version":   {`echo '{"kind":"CredentialProviderResponse","apiVersion":"v1","cacheKeyType":"Global"}'`, "", 2},
		"fails":           {"echo broken >&2; exit 3", "", 2},
		"nothing to tell": {answer(`"cacheKeyType":"Global"`), "", 1},
	} {
		r := newRig(t, oneProvider, tc.script, nil)
		for range 2 {
			if got := r.look(t, podOf(""), "a.example.com/x"); got != tc.want {
				t.Errorf("%s: got %q", name, got)
			}
		}
		if called := r.called(t); len(called) != tc.calls {
			t.Errorf("%s: called %q", name, called)
		}
	}
}

func TestPluginWithToken(t *testing.T) {
	r := newRig(t, tokenProvider, answer(`"cacheKeyType":"Image",`+auth), cluster{map[string]string{"example.com/role": "puller", "other": "x"}})
	if got := r.look(t, podOf("robot"), "a.example.com/x"); got != "u:p of ns/robot" {
		t.Errorf("got %q", got)
	}
	if got := r.called(t)[0]; !strings.Contains(got, `"serviceAccountToken":"token-web-registry","serviceAccountAnnotations":{"example.com/role":"puller"}`) {
		t.Errorf("asked %s", got)
	}
	for account, want := range map[string]string{"": "", "stranger": ""} {
		if got := r.look(t, podOf(account), "a.example.com/x"); got != want {
			t.Errorf("account %q: got %q", account, got)
		}
	}
	out := newRig(t, tokenProvider, answer(`"cacheKeyType":"Image",`+auth), cluster{})
	if got := out.look(t, podOf("robot"), "a.example.com/x"); got != "" {
		t.Errorf("an account without the annotation: got %q", got)
	}
	echo := newRig(t, tokenProvider, answer(`"cacheKeyType":"Image","auth":{"*.example.com":{"username":"u","password":"token-web-registry"}}`), cluster{map[string]string{"example.com/role": "puller"}})
	if got := echo.look(t, podOf("robot"), "a.example.com/x"); got != "" {
		t.Errorf("a token that is passed through as a password must not be kept by account: got %q", got)
	}
}

func TestNodeLogins(t *testing.T) {
	dir := t.TempDir()
	f, err := Open(Config{Dirs: []string{filepath.Join(dir, "none"), dir}})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Finder: f}
	write(t, filepath.Join(dir, "config.json"), `{"auths":{"r.io":{"username":"u","password":"old"}}}`, 0o600)
	if got := r.look(t, podOf(""), "r.io/x"); got != "u:old" {
		t.Errorf("got %q", got)
	}
	write(t, filepath.Join(dir, "config.json"), `{"auths":{"r.io":{"username":"u","password":"new"}}}`, 0o600)
	if got := r.look(t, podOf(""), "r.io/x"); got != "u:new" {
		t.Errorf("a changed file: got %q", got)
	}
}

func TestPluginsNeedBothFlags(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "config"), oneProvider, 0o600)
	for _, tc := range []struct {
		c    Config
		want string
	}{
		{Config{ProviderConfig: filepath.Join(dir, "config")}, "go together"},
		{Config{ProviderDir: dir}, "go together"},
		{Config{ProviderConfig: filepath.Join(dir, "config"), ProviderDir: dir}, "credential provider tell: "},
		{Config{ProviderConfig: filepath.Join(dir, "config"), ProviderDir: filepath.Join(dir, "none")}, "no such file"},
		{Config{ProviderConfig: filepath.Join(dir, "none"), ProviderDir: dir}, "unable to access path"},
	} {
		if _, err := Open(tc.c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: got error %v, want %q", tc.c, err, tc.want)
		}
	}
}
