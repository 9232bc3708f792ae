package serviceaccount

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

const limitAnnotation = "kubernetes.io/enforce-mountable-secrets"

// limited says whether pods of the account may use its own secrets only.
func limited(sa *corev1.ServiceAccount) bool {
	on, err := strconv.ParseBool(sa.Annotations[limitAnnotation])
	return err == nil && on
}

// secrets refuses what the account does not list.
func secrets(sa *corev1.ServiceAccount, pod *corev1.Pod) error {
	for i := range pod.Spec.Volumes {
		if s := pod.Spec.Volumes[i].Secret; s != nil && !lists(sa, s.SecretName) {
			return fmt.Errorf("volume with secret.secretName=%q is not allowed because service account %s does not reference that secret", s.SecretName, sa.Name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if err := containerSecrets(sa, "init container", pod.Spec.InitContainers[i].Name, pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom); err != nil {
			return err
		}
	}
	for i := range pod.Spec.Containers {
		if err := containerSecrets(sa, "container", pod.Spec.Containers[i].Name, pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom); err != nil {
			return err
		}
	}
	for i, s := range pod.Spec.ImagePullSecrets {
		if !slices.Contains(sa.ImagePullSecrets, s) {
			return fmt.Errorf("imagePullSecrets[%d].name=%q is not allowed because service account %s does not reference that imagePullSecret", i, s.Name, sa.Name)
		}
	}
	return nil
}

func ephemeralSecrets(sa *corev1.ServiceAccount, pod *corev1.Pod) error {
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		if err := containerSecrets(sa, "ephemeral container", c.Name, c.Env, c.EnvFrom); err != nil {
			return err
		}
	}
	return nil
}

func containerSecrets(sa *corev1.ServiceAccount, what, name string, env []corev1.EnvVar, from []corev1.EnvFromSource) error {
	const rule = "referencing secret.secretName=%q is not allowed because service account %s does not reference that secret"
	for _, e := range env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && !lists(sa, e.ValueFrom.SecretKeyRef.Name) {
			return fmt.Errorf("%s %s with envVar %s "+rule, what, name, e.Name, e.ValueFrom.SecretKeyRef.Name, sa.Name)
		}
	}
	for _, e := range from {
		if e.SecretRef != nil && !lists(sa, e.SecretRef.Name) {
			return fmt.Errorf("%s %s with envFrom "+rule, what, name, e.SecretRef.Name, sa.Name)
		}
	}
	return nil
}

func lists(sa *corev1.ServiceAccount, secret string) bool {
	return slices.ContainsFunc(sa.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret })
}
