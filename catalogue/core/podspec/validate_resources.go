package podspec

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"clipper/catalogue/rule"
)

// A nameRule checks the name of a resource.
type nameRule func(f *rule.Faults, at *field.Path, name corev1.ResourceName)

// Quantity checks an amount of a resource: never negative, and whole where only whole ones exist.
func Quantity(f *rule.Faults, at *field.Path, name corev1.ResourceName, q resource.Quantity) {
	f.Quantity(at, q)
	if (IsObjectCount(name) || IsExtended(name)) && q.MilliValue()%1000 != 0 {
		f.Invalid(at, q, rule.NotInteger)
	}
}

// resources checks what a container or a pod asks for and is limited to.
func resources(f *rule.Faults, at *field.Path, r *corev1.ResourceRequirements, claims []corev1.PodResourceClaim, checkName nameRule) {
	limits, requests := at.Child("limits"), at.Child("requests")
	compute, huge := false, false
	note := func(name corev1.ResourceName, q resource.Quantity, path *field.Path) {
		checkName(f, path, name)
		Quantity(f, path, name, q)
		if IsHugePages(name) {
			huge = true
			if !dividesPage(name, q) {
				f.Invalid(path, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), name))
			}
		}
		compute = compute || name == corev1.ResourceCPU || name == corev1.ResourceMemory
	}
	for _, name := range slices.Sorted(maps.Keys(r.Limits)) {
		note(name, r.Limits[name], limits.Key(string(name)))
	}
	for _, name := range slices.Sorted(maps.Keys(r.Requests)) {
		q := r.Requests[name]
		note(name, q, requests.Key(string(name)))
		limit, limited := r.Limits[name]
		switch {
		case !limited && !IsOvercommittable(name):
			f.Required(limits, "Limit must be set for non overcommitable resources")
		case !limited:
		case q.Cmp(limit) != 0 && !IsOvercommittable(name):
			f.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String()))
		case q.Cmp(limit) > 0:
			f.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String()))
		}
	}
	if huge && !compute {
		f.Forbidden(at, "HugePages require cpu or memory")
	}
	claimNames(f, at.Child("claims"), r.Claims, claims)
}

// dividesPage says that q is a whole number of pages of the size in the name.
func dividesPage(name corev1.ResourceName, q resource.Quantity) bool {
	size, err := resource.ParseQuantity(strings.TrimPrefix(string(name), corev1.ResourceHugePagesPrefix))
	if err != nil || size.Sign() <= 0 || size.MilliValue()%1000 != 0 {
		return false
	}
	return q.Value()%size.Value() == 0
}

// claimNames checks that a container's claims are the pod's, and none twice.
func claimNames(f *rule.Faults, at *field.Path, used []corev1.ResourceClaim, claims []corev1.PodResourceClaim) {
	seen := rule.Seen[string]{}
	for i, claim := range used {
		path := at.Index(i)
		if !f.Need(path, claim.Name) {
			continue
		}
		key := claim.Name
		if claim.Request != "" {
			f.DNSLabel(path.Child("request"), claim.Request)
			key += "/" + claim.Request
		}
		whole := claim.Request != "" && seen[claim.Name] || claim.Request == "" && anyRequestOf(seen, claim.Name)
		if seen.Again(key) || whole {
			f.Duplicate(path, key)
		}
		if !slices.ContainsFunc(claims, func(c corev1.PodResourceClaim) bool { return c.Name == claim.Name }) {
			f.Add(unknownClaim(path, claim.Name, claims))
		}
	}
}

func anyRequestOf(seen rule.Seen[string], claim string) bool {
	for key := range seen {
		if strings.HasPrefix(key, claim+"/") {
			return true
		}
	}
	return false
}

func unknownClaim(at *field.Path, name string, claims []corev1.PodResourceClaim) *field.Error {
	fault := field.NotFound(at, name)
	fault.Detail = "must be one of the names in pod.spec.resourceClaims which is empty"
	var names []string
	for _, c := range claims {
		if c.Name != "" && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	if len(names) > 0 {
		fault.Detail = "must be one of the names in pod.spec.resourceClaims: " + strings.Join(names, ", ")
	}
	return fault
}

// podResources checks the resources of the pod as a whole, against those of its containers.
func podResources(f *rule.Faults, at *field.Path, spec *corev1.PodSpec) {
	r := spec.Resources
	if r == nil {
		return
	}
	path := at.Child("resources")
	if isWindows(spec) {
		f.Forbidden(path, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		f.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	resources(f, path, r, spec.ResourceClaims, podResourceName)
	pod := &corev1.Pod{Spec: *spec}
	requests := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		sum := requests[name]
		if own, ok := r.Requests[name]; ok && sum.Cmp(own) > 0 {
			f.Invalid(path.Child("requests").Key(string(name)), own.String(), "must be greater than or equal to aggregate container requests of "+sum.String())
		}
	}
	limits := resourcehelper.AggregateContainerLimits(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		sum := limits[name]
		if own, ok := r.Limits[name]; ok && IsHugePages(name) && sum.Cmp(own) > 0 {
			f.Invalid(path.Child("limits").Key(string(name)), own.String(), "must be greater than or equal to aggregate container limits of "+sum.String())
		}
	}
	for i := range spec.Containers {
		for _, name := range slices.Sorted(maps.Keys(spec.Containers[i].Resources.Limits)) {
			limit := spec.Containers[i].Resources.Limits[name]
			if own, ok := r.Limits[name]; ok && limit.Cmp(own) > 0 {
				f.Invalid(path.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(), "must be less than or equal to pod limits of "+own.String())
			}
		}
	}
}

func podResourceName(f *rule.Faults, at *field.Path, name corev1.ResourceName) {
	if ResourceName(f, at, name) && !resourcehelper.IsSupportedPodLevelResource(name) {
		f.Add(field.NotSupported(at, name, slices.Sorted(maps.Keys(resourcehelper.SupportedPodLevelResources()))))
	}
}

// Overhead checks what a pod costs beyond its containers.
func Overhead(f *rule.Faults, list corev1.ResourceList, at *field.Path) {
	resources(f, at, &corev1.ResourceRequirements{Limits: list}, nil, containerResourceName)
}
