package podrefs

import corev1 "k8s.io/api/core/v1"

// First names the first kind of object of the API that a pod refers to, "" if it stands for itself, as pods must that
// a node makes: static ones and their mirrors. Order and words are upstream's.
func First(spec *corev1.PodSpec) string {
	switch {
	case spec.ServiceAccountName != "":
		return "serviceaccounts"
	case UsesAnySecret(spec):
		return "secrets"
	case UsesAnyConfigMap(spec):
		return "configmaps"
	case len(spec.ResourceClaims) > 0:
		return "resourceclaims"
	}
	for i := range spec.Volumes {
		if what := ofVolume(&spec.Volumes[i]); what != "" {
			return what
		}
	}
	return ""
}

// ofVolume is First for what a volume refers to beside secrets and config maps.
func ofVolume(v *corev1.Volume) string {
	switch {
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)"
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)"
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims"
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)"
	case v.Projected == nil:
		return ""
	}
	for i := range v.Projected.Sources {
		switch s := &v.Projected.Sources[i]; {
		case s.ServiceAccountToken != nil:
			return "serviceaccounts (via projected volumes)"
		case s.ClusterTrustBundle != nil:
			return "clustertrustbundles"
		case s.PodCertificate != nil:
			return "podcertificates"
		}
	}
	return ""
}
