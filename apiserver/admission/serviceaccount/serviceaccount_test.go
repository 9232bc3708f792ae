package serviceaccount

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
	"clipper/apiserver/admission"
)

// TestMountableSecrets: pods of an account that says so may use the secrets that it lists, and no others.
func TestMountableSecrets(t *testing.T) {
	c := &apitest.Client{}
	c.Add(api.ServiceAccounts.Resource,
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "free"}},
		&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "tied", Annotations: map[string]string{"kubernetes.io/enforce-mountable-secrets": "true"}},
			Secrets: []corev1.ObjectReference{{Name: "mine"}}, ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}})
	env := func(secret string) []corev1.EnvVar {
		return []corev1.EnvVar{{Name: "E", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}}}}
	}
	from := func(secret string) []corev1.EnvFromSource {
		return []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: secret}}}}
	}
	const tail = " because service account tied does not reference that secret"
	for _, tt := range []struct {
		name    string
		account string
		change  func(*corev1.PodSpec)
		sub     string
		err     string
	}{
		{"own volume", "tied", func(s *corev1.PodSpec) { s.Volumes = volumes("mine") }, "", ""},
		{"volume", "tied", func(s *corev1.PodSpec) { s.Volumes = volumes("other") }, "", `volume with secret.secretName="other" is not allowed` + tail},
		{"variable", "tied", func(s *corev1.PodSpec) { s.Containers[0].Env = env("other") }, "", `container c with envVar E referencing secret.secretName="other" is not allowed` + tail},
		{"variables", "tied", func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{{Name: "i", EnvFrom: from("other")}} }, "", `init container i with envFrom referencing secret.secretName="other" is not allowed` + tail},
		{"pull secret", "tied", func(s *corev1.PodSpec) { s.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "x"}} }, "", `imagePullSecrets[0].name="x" is not allowed because service account tied does not reference that imagePullSecret`},
		{"ephemeral", "tied", func(s *corev1.PodSpec) {
			s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "e", Env: env("other")}}}
		}, "ephemeralcontainers", `ephemeral container e with envVar E referencing secret.secretName="other" is not allowed` + tail},
		{"another account", "free", func(s *corev1.PodSpec) { s.Volumes = volumes("other") }, "", ""},
		{"no account", "", func(*corev1.PodSpec) {}, "", "no service account specified for pod ns/p"},
		{"unknown account", "ghost", func(*corev1.PodSpec) {}, "", `error looking up service account ns/ghost: serviceaccount "ghost" not found`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{ServiceAccountName: tt.account, Containers: []corev1.Container{{Name: "c"}}}}
			tt.change(&pod.Spec)
			a := &admission.Attributes{Operation: admission.Create, Resource: api.Pods.Resource, Subresource: tt.sub, Namespace: "ns", Name: "p", Object: pod}
			if tt.sub == "" {
				if tt.err != "" {
					tt.err = `pods "p" is forbidden: ` + tt.err
				}
			} else {
				a.Operation = admission.Update
			}
			if err := New(c).Validate(t.Context(), a); (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
				t.Errorf("got %v, want %q", err, tt.err)
			}
		})
	}
}

func volumes(secret string) []corev1.Volume {
	return []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: secret}}}}
}
