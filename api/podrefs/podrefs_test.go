package podrefs

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func spec(t *testing.T, text string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}}
	if err := yaml.UnmarshalStrict([]byte(text), &p.Spec); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOf(t *testing.T) {
	p := spec(t, `
imagePullSecrets: [{name: pull}]
volumes:
- {name: a, configMap: {name: cm}}
- {name: b, secret: {secretName: s}}
- {name: c, projected: {sources: [{configMap: {name: cm2}}, {secret: {name: s2}}]}}
- {name: d, persistentVolumeClaim: {claimName: pvc}}
- {name: e, ephemeral: {}}
- {name: f, csi: {driver: x, nodePublishSecretRef: {name: s3}}}
initContainers: [{name: i, envFrom: [{configMapRef: {name: cm3}}]}]
containers: [{name: c, env: [{name: K, valueFrom: {secretKeyRef: {name: s, key: k}}}]}]
ephemeralContainers: [{name: d, envFrom: [{secretRef: {name: s4}}]}]
`)
	var got []string
	for _, r := range Of(p) {
		got = append(got, fmt.Sprint(r.Resource.Name, "/", r.Name))
	}
	const want = "configmaps/cm configmaps/cm2 configmaps/cm3 secrets/pull secrets/s secrets/s2 secrets/s3 secrets/s4 persistentvolumeclaims/pvc persistentvolumeclaims/p-e"
	if text := strings.Join(got, " "); text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !UsesSecret(&p.Spec, "s4") || UsesSecret(&p.Spec, "cm") || !UsesConfigMap(&p.Spec, "cm2") || UsesConfigMap(&p.Spec, "s") {
		t.Error("single names are not told apart")
	}
}

// Secrets and config maps come before what else a volume refers to, wherever they stand.
func TestFirst(t *testing.T) {
	for text, want := range map[string]string{
		"serviceAccountName: x": "serviceaccounts",
		"volumes: [{name: a, csi: {driver: x}}, {name: b, secret: {secretName: s}}]":                        "secrets",
		"volumes: [{name: a, azureFile: {secretName: s, shareName: x}}]":                                    "secrets",
		"volumes: [{name: a, persistentVolumeClaim: {claimName: c}}, {name: b, configMap: {name: s}}]":      "configmaps",
		"volumes: [{name: a, ephemeral: {}}]":                                                               "persistentvolumeclaims (via ephemeral volumes)",
		"volumes: [{name: a, projected: {sources: [{downwardAPI: {}}, {serviceAccountToken: {path: t}}]}}]": "serviceaccounts (via projected volumes)",
		"volumes: [{name: a, hostPath: {path: /x}}, {name: b, emptyDir: {}}]":                               "",
	} {
		if got := First(&spec(t, text).Spec); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
