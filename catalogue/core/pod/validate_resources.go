package pod

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api/containers"
	"clipper/catalogue/rule"
)

// health checks what node agents say of the devices that containers have.
func health(f *rule.Faults, list []corev1.ContainerStatus, containers []corev1.Container, at *field.Path) {
	for i, s := range list {
		at := at.Index(i).Child("allocatedResourcesStatus")
		for j, r := range s.AllocatedResourcesStatus {
			at := at.Index(j)
			for k := range containers {
				if containers[k].Name == s.Name {
					allocated(f, r.Name, &containers[k], at.Child("name"))
				}
			}
			seen := rule.Seen[corev1.ResourceID]{}
			for k, one := range r.Resources {
				at := at.Child("resources").Index(k)
				rule.OneOf(f, at.Child("health"), one.Health, corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)
				if m := one.Message; m != nil && *m == "" {
					f.Required(at.Child("message"), "must be non-empty if specified")
				} else if m != nil && len(*m) > corev1.ResourceHealthMessageMaxLength {
					f.Add(field.TooLong(at.Child("message"), *m, corev1.ResourceHealthMessageMaxLength))
				}
				if seen.Again(one.ResourceID) {
					f.Duplicate(at.Child("resourceID"), one.ResourceID)
				}
			}
		}
	}
}

// allocated checks that a container asked for the resource, by its name or as "claim:name/request".
func allocated(f *rule.Faults, name corev1.ResourceName, c *corev1.Container, at *field.Path) {
	claim, ok := strings.CutPrefix(string(name), "claim:")
	if !ok {
		if _, asked := c.Resources.Requests[name]; !asked {
			f.Invalid(at, name, "must match one of the container's resource requests")
		}
		return
	}
	for _, r := range c.Resources.Claims {
		if r.Name == claim && r.Request == "" || r.Name+"/"+r.Request == claim && r.Request != "" {
			return
		}
	}
	f.Invalid(at, name, "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty")
}

// noHealth: debug containers have no devices.
func noHealth(f *rule.Faults, list []corev1.ContainerStatus, at *field.Path) {
	for i, s := range list {
		if len(s.AllocatedResourcesStatus) > 0 {
			f.Forbidden(at.Index(i).Child("allocatedResourcesStatus"), "must not be specified in container status")
		}
	}
}

// extendedClaim checks the claim that the scheduler made for extended resources which are devices.
func extendedClaim(f *rule.Faults, s *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec, at *field.Path) {
	if s == nil {
		return
	}
	named := map[string]*corev1.Container{}
	for c := range containers.Of(spec) {
		named[c.Name] = c
	}
	mappings := at.Child("requestMappings")
	if len(s.RequestMappings) == 0 {
		f.Required(mappings, "at least one request mapping is required")
	}
	seen := rule.Seen[corev1.ContainerExtendedResourceRequest]{}
	for i, m := range s.RequestMappings {
		path := mappings.Index(i)
		if c, ok := named[m.ContainerName]; !ok {
			f.Invalid(path.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name")
		} else if _, ok := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]; !ok {
			f.Invalid(path.Child("resourceName"), m.ResourceName,
				"must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests")
		}
		f.DNSLabel(at.Child("requestName"), m.RequestName)
		if seen.Again(m) {
			f.Duplicate(path.Child("containerName"), m.ContainerName)
			f.Duplicate(path.Child("resourceName"), m.ResourceName)
			f.Duplicate(path.Child("requestName"), m.RequestName)
		}
	}
	if f.Need(at.Child("resourceClaimName"), s.ResourceClaimName) {
		f.DNSSubdomain(at.Child("resourceClaimName"), s.ResourceClaimName)
	}
}
