package config

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
)

const header = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"

// FuzzRead: what is a configuration upstream is one here, with the same content for each plug-in.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		header + "plugins:\n- {name: PodSecurity, configuration: {kind: X, a: [1]}}\n- {name: PodSecurity, path: x}\n- {name: Priority}\n",
		header + "plugins: [{name: EventRateLimit, path: /nowhere, configuration: null}, {path: .}]\n", header + "plugins: null\nmore: 1\n", header + "kind: twice\n",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n", "apiVersion: apiserver.config.k8s.io/v1alpha1\nkind: AdmissionConfiguration\n",
		"imagePolicy: {kubeConfigFile: x}\n", "podNodeSelectorPluginConfig:\n", "kind: x\nimagePolicy: 1\n", "apiVersion: a/b/c\nimagePolicy: 1\n", "imagePolicy: [\n",
		`{"kind":"AdmissionConfiguration","apiVersion":"apiserver.config.k8s.io/v1","plugins":[{"name":"a","configuration":{"b":"c"}}]}`, "[]", "---\n", "a: &a [*a]",
	} {
		f.Add([]byte(text))
	}
	path := filepath.Join(f.TempDir(), "admission.yaml")
	scheme := runtime.NewScheme()
	install.Install(scheme)
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		want, theirs := admission.ReadAdmissionConfiguration([]string{"ImagePolicyWebhook", "PodNodeSelector"}, path, scheme)
		if (err == nil) != (theirs == nil) {
			t.Fatalf("%q: %v, upstream %v", text, err, theirs)
		}
		if err != nil {
			return
		}
		for _, name := range []string{"PodSecurity", "ImagePolicyWebhook", "PodNodeSelector", "a", ""} {
			if i := slices.IndexFunc(got.plugins, func(p apiserver.AdmissionPluginConfiguration) bool { return p.Name == name }); i >= 0 &&
				got.plugins[i].Configuration == nil && got.plugins[i].Path != "" && got.plugins[i].Path != filepath.Base(path) {
				continue // where upstream's process ends if it cannot read the file
			}
			raw, err := got.For(name)
			if err != nil {
				t.Fatal(err)
			}
			r, err := want.ConfigFor(name)
			if err != nil {
				t.Fatal(err)
			}
			var content []byte
			if r != nil {
				content, _ = io.ReadAll(r)
			}
			if (raw == nil) != (r == nil) || string(raw) != string(content) {
				t.Errorf("%q: %s has %q, upstream %q", text, name, raw, content)
			}
		}
	})
}
