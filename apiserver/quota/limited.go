package quota

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// Limited lists those of the served resources whose objects a quota's limits are about.
func Limited(q *corev1.ResourceQuota, served []api.Resource) (out []api.Resource) {
	for _, r := range served {
		if r.Namespaced && limits(q, r) {
			out = append(out, r)
		}
	}
	return out
}

func limits(q *corev1.ResourceQuota, r api.Resource) bool {
	if _, ok := q.Spec.Hard[CountName(r)]; ok {
		return true
	}
	for name := range q.Spec.Hard {
		if old, ok := legacy[r]; ok && old == name {
			return true
		}
		if owner(string(name)) == r {
			return true
		}
	}
	return false
}

// owner is the resource whose objects use what name measures; the zero Resource for mere numbers of objects.
func owner(name string) api.Resource {
	switch {
	case strings.HasPrefix(name, countPrefix):
		return api.Resource{}
	case strings.HasPrefix(name, "services."):
		return api.Services.Resource
	case name == string(corev1.ResourceRequestsStorage), strings.Contains(name, classSuffix):
		return api.PersistentVolumeClaims.Resource
	case strings.HasSuffix(name, corev1.ResourceClaimsPerClass), strings.HasPrefix(name, corev1.ResourceImplicitExtendedClaimsPerClass):
		return api.ResourceClaims.Resource
	}
	for _, old := range legacy {
		if string(old) == name {
			return api.Resource{}
		}
	}
	return api.Pods.Resource // cpu, memory, requests.*, limits.*, extended resources
}
