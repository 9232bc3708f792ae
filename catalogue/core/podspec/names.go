package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

// IsHugePages says that a resource is memory in huge pages.
func IsHugePages(name corev1.ResourceName) bool {
	return strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
}

// IsNative says that a resource is of Kubernetes itself: without a domain, or with its own.
func IsNative(name corev1.ResourceName) bool {
	return !strings.Contains(string(name), "/") || strings.Contains(string(name), corev1.ResourceDefaultNamespacePrefix)
}

// IsExtended says that a resource is of a device plug-in or the like, and countable in a quota.
func IsExtended(name corev1.ResourceName) bool {
	if IsNative(name) || strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix) {
		return false
	}
	return len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+string(name))) == 0
}

// IsOvercommittable says that limits may exceed requests.
func IsOvercommittable(name corev1.ResourceName) bool { return IsNative(name) && !IsHugePages(name) }

// isStandardForContainers says that a container may ask for a resource by its bare name.
func isStandardForContainers(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage:
		return true
	}
	return IsHugePages(name)
}

// IsObjectCount says that a resource is a number of API objects.
func IsObjectCount(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers,
		corev1.ResourceSecrets, corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims,
		corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return false
}

// IsStandard says that a bare name means a resource to Kubernetes, anywhere.
func IsStandard(name corev1.ResourceName) bool {
	bare := string(name)
	for _, prefix := range []string{"requests.", "limits."} {
		if rest, ok := strings.CutPrefix(bare, prefix); ok {
			return isStandardForContainers(corev1.ResourceName(rest)) && (prefix == "requests." || !IsHugePages(corev1.ResourceName(rest))) ||
				prefix == "requests." && rest == string(corev1.ResourceStorage)
		}
	}
	return isStandardForContainers(name) || name == corev1.ResourceStorage || IsObjectCount(name)
}

// ResourceName checks the name of a resource that may be any of the cluster's.
func ResourceName(f *rule.Faults, at *field.Path, name corev1.ResourceName) bool {
	before := len(f.List)
	f.Each(at, name, validation.IsQualifiedName(string(name)))
	if len(f.List) == before && !strings.Contains(string(name), "/") && !IsStandard(name) {
		f.Invalid(at, name, "must be a standard resource type or fully qualified")
	}
	return len(f.List) == before
}

// containerResourceName checks the name of a resource that a container asks for.
func containerResourceName(f *rule.Faults, at *field.Path, name corev1.ResourceName) {
	ResourceName(f, at, name)
	switch {
	case !strings.Contains(string(name), "/"):
		if !isStandardForContainers(name) {
			f.Invalid(at, name, "must be a standard resource for containers")
		}
	case !IsNative(name) && !IsExtended(name):
		f.Invalid(at, name, "doesn't follow extended resource name standard")
	}
}

// LimitName checks the name of a resource that a limit range bounds for a type of object.
func LimitName(f *rule.Faults, at *field.Path, t corev1.LimitType, name corev1.ResourceName) {
	if t == corev1.LimitTypePod || t == corev1.LimitTypeContainer {
		containerResourceName(f, at, name)
		return
	}
	ResourceName(f, at, name)
}
