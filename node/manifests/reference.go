package manifests

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// reference names a kind of object of the API that the pod needs, "" if it needs none. Order and words are
// upstream's.
func reference(spec *corev1.PodSpec) string {
	switch {
	case spec.ServiceAccountName != "":
		return "serviceaccounts"
	case len(spec.ImagePullSecrets) > 0 || anyVariable(spec, ofSecret):
		return "secrets"
	case anyVariable(spec, ofConfigMap):
		return "configmaps"
	case len(spec.ResourceClaims) > 0:
		return "resourceclaims"
	}
	for i := range spec.Volumes {
		if what := volumeReference(&spec.Volumes[i]); what != "" {
			return what
		}
	}
	return ""
}

// anyVariable reports whether the environment of any container has a source that is does.
func anyVariable(spec *corev1.PodSpec, is func(*corev1.EnvVarSource, *corev1.EnvFromSource) bool) bool {
	return slices.ContainsFunc(slices.Concat(spec.InitContainers, spec.Containers), func(c corev1.Container) bool {
		for i := range c.Env {
			if from := c.Env[i].ValueFrom; from != nil && is(from, &corev1.EnvFromSource{}) {
				return true
			}
		}
		for i := range c.EnvFrom {
			if is(&corev1.EnvVarSource{}, &c.EnvFrom[i]) {
				return true
			}
		}
		return false
	})
}

func ofSecret(v *corev1.EnvVarSource, all *corev1.EnvFromSource) bool {
	return v.SecretKeyRef != nil || all.SecretRef != nil
}

func ofConfigMap(v *corev1.EnvVarSource, all *corev1.EnvFromSource) bool {
	return v.ConfigMapKeyRef != nil || all.ConfigMapRef != nil
}

func volumeReference(v *corev1.Volume) string {
	switch {
	case v.ConfigMap != nil:
		return "configmaps (via configmap volumes)"
	case v.Secret != nil:
		return "secrets (via secret volumes)"
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)"
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)"
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims"
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)"
	case v.AzureFile != nil:
		return "secrets (via azureFile volumes)"
	case v.Projected == nil:
		return ""
	}
	for i := range v.Projected.Sources {
		if what := projectedReference(&v.Projected.Sources[i]); what != "" {
			return what
		}
	}
	return ""
}

func projectedReference(s *corev1.VolumeProjection) string {
	switch {
	case s.ConfigMap != nil:
		return "configmaps (via projected volumes)"
	case s.Secret != nil:
		return "secrets (via projected volumes)"
	case s.ServiceAccountToken != nil:
		return "serviceaccounts (via projected volumes)"
	case s.ClusterTrustBundle != nil:
		return "clustertrustbundles"
	case s.PodCertificate != nil:
		return "podcertificates"
	}
	return ""
}
