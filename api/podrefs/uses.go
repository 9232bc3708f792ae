package podrefs

import (
	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
)

// A match says whether a reference by name is the one looked for; what it is asked about ends with the first that is.
type match func(name string) bool

func exactly(want string) match { return func(name string) bool { return name == want } }

func whatever(string) bool { return true }

// UsesAnySecret reports whether a pod names any secret.
func UsesAnySecret(spec *corev1.PodSpec) bool { return anySecret(spec, whatever) }

// UsesAnyConfigMap reports whether a pod names any config map.
func UsesAnyConfigMap(spec *corev1.PodSpec) bool { return anyConfigMap(spec, whatever) }

// UsesSecret reports whether a pod names the secret.
func UsesSecret(spec *corev1.PodSpec, name string) bool { return anySecret(spec, exactly(name)) }

// UsesConfigMap reports whether a pod names the config map.
func UsesConfigMap(spec *corev1.PodSpec, name string) bool { return anyConfigMap(spec, exactly(name)) }

// anySecret reports whether a pod names a matching secret anywhere.
func anySecret(spec *corev1.PodSpec, m match) bool {
	for _, ref := range spec.ImagePullSecrets {
		if m(ref.Name) {
			return true
		}
	}
	for i := range spec.Volumes {
		if anyVolumeSecret(&spec.Volumes[i], m) {
			return true
		}
	}
	return anyContainer(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.SecretKeyRef != nil && m(v.SecretKeyRef.Name) {
				return true
			}
		}
		for i := range from {
			if ref := from[i].SecretRef; ref != nil && m(ref.Name) {
				return true
			}
		}
		return false
	})
}

func anyVolumeSecret(v *corev1.Volume, m match) bool {
	local := func(ref *corev1.LocalObjectReference) bool { return ref != nil && m(ref.Name) }
	switch {
	case v.Secret != nil:
		return m(v.Secret.SecretName)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].Secret; s != nil && m(s.Name) {
				return true
			}
		}
	case v.CSI != nil:
		return local(v.CSI.NodePublishSecretRef)
	case v.ISCSI != nil:
		return local(v.ISCSI.SecretRef)
	case v.CephFS != nil:
		return local(v.CephFS.SecretRef)
	case v.RBD != nil:
		return local(v.RBD.SecretRef)
	case v.FlexVolume != nil:
		return local(v.FlexVolume.SecretRef)
	case v.Cinder != nil:
		return local(v.Cinder.SecretRef)
	case v.ScaleIO != nil:
		return local(v.ScaleIO.SecretRef)
	case v.StorageOS != nil:
		return local(v.StorageOS.SecretRef)
	case v.AzureFile != nil:
		return m(v.AzureFile.SecretName)
	}
	return false
}

// anyConfigMap reports whether a pod names a matching config map anywhere.
func anyConfigMap(spec *corev1.PodSpec, m match) bool {
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil && m(v.ConfigMap.Name) {
			return true
		}
		if v.Projected == nil {
			continue
		}
		for j := range v.Projected.Sources {
			if s := v.Projected.Sources[j].ConfigMap; s != nil && m(s.Name) {
				return true
			}
		}
	}
	return anyContainer(spec, func(env []corev1.EnvVar, from []corev1.EnvFromSource) bool {
		for i := range env {
			if v := env[i].ValueFrom; v != nil && v.ConfigMapKeyRef != nil && m(v.ConfigMapKeyRef.Name) {
				return true
			}
		}
		for i := range from {
			if ref := from[i].ConfigMapRef; ref != nil && m(ref.Name) {
				return true
			}
		}
		return false
	})
}

// anyContainer applies fn to the environment of every container of any kind.
func anyContainer(spec *corev1.PodSpec, fn func([]corev1.EnvVar, []corev1.EnvFromSource) bool) bool {
	for c := range containers.All(spec) {
		if fn(c.Env, c.EnvFrom) {
			return true
		}
	}
	return false
}
