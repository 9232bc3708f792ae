// Package quota says what an object counts for in a ResourceQuota, which quotas it counts in, and when
// one is exceeded. It is pure: admission asks before a write, the controller asks to count again.
package quota

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/api"
)

// legacy are the resources whose number has had a name of its own from the beginning.
var legacy = map[api.Resource]corev1.ResourceName{
	api.Pods.Resource:                   corev1.ResourcePods,
	api.Services.Resource:               corev1.ResourceServices,
	api.ReplicationControllers.Resource: corev1.ResourceReplicationControllers,
	api.ResourceQuotas.Resource:         corev1.ResourceQuotas,
	api.Secrets.Resource:                corev1.ResourceSecrets,
	api.ConfigMaps.Resource:             corev1.ResourceConfigMaps,
	api.PersistentVolumeClaims.Resource: corev1.ResourcePersistentVolumeClaims,
}

const countPrefix = "count/"

// CountName is the name by which a quota limits the number of objects of a resource.
func CountName(r api.Resource) corev1.ResourceName {
	if r.Group == "" {
		return corev1.ResourceName(countPrefix + r.Name)
	}
	return corev1.ResourceName(countPrefix + r.Name + "." + r.Group)
}

var one = resource.MustParse("1")

// Usage is what an object counts for, by every name that a quota could limit.
func Usage(r api.Resource, o api.Object) corev1.ResourceList {
	switch v := o.(type) {
	case *corev1.Pod:
		return podUsage(v)
	case *corev1.Service:
		return serviceUsage(v)
	case *corev1.PersistentVolumeClaim:
		return claimUsage(v)
	case *resourcev1.ResourceClaim:
		return deviceUsage(r, v)
	}
	out := corev1.ResourceList{CountName(r): one}
	if name, ok := legacy[r]; ok {
		out[name] = one
	}
	return out
}

func serviceUsage(svc *corev1.Service) corev1.ResourceList {
	ports := int64(0)
	balancers := int64(0)
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = int64(len(svc.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		balancers = 1
		if svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts {
			ports = int64(len(svc.Spec.Ports))
		} else {
			for _, p := range svc.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
	}
	return corev1.ResourceList{
		CountName(api.Services.Resource):     one,
		corev1.ResourceServices:              one,
		corev1.ResourceServicesNodePorts:     *resource.NewQuantity(ports, resource.DecimalSI),
		corev1.ResourceServicesLoadBalancers: *resource.NewQuantity(balancers, resource.DecimalSI),
	}
}

const classSuffix = ".storageclass.storage.k8s.io/"

func claimUsage(c *corev1.PersistentVolumeClaim) corev1.ResourceList {
	out := corev1.ResourceList{CountName(api.PersistentVolumeClaims.Resource): one, corev1.ResourcePersistentVolumeClaims: one}
	class := c.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" && c.Spec.StorageClassName != nil {
		class = *c.Spec.StorageClassName
	}
	if class != "" {
		out[corev1.ResourceName(class+classSuffix+"persistentvolumeclaims")] = one
	}
	size, ok := c.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return out
	}
	if granted, ok := c.Status.AllocatedResources[corev1.ResourceStorage]; ok && granted.Cmp(size) > 0 {
		size = granted // a claim that was shrunk again still holds what it was given
	}
	out[corev1.ResourceRequestsStorage] = size
	if class != "" {
		out[corev1.ResourceName(class+classSuffix+"requests.storage")] = size
	}
	return out
}

// Matches says whether an object counts in a quota with the given scopes.
func Matches(q *corev1.ResourceQuota, o api.Object) bool {
	for _, s := range Scopes(q) {
		if !inScope(o, s) {
			return false
		}
	}
	return true
}

// inScope says whether o is what one scope of a quota chooses. Scopes choose among pods and claims only.
func inScope(o api.Object, s corev1.ScopedResourceSelectorRequirement) bool {
	switch v := o.(type) {
	case *corev1.Pod:
		return podInScope(v, s)
	case *corev1.PersistentVolumeClaim:
		return s.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass && namesMatch(AttributesClasses(v), s)
	}
	return false
}

// AttributesClasses are the names of the VolumeAttributesClasses that a claim has, had, or is about to get.
func AttributesClasses(c *corev1.PersistentVolumeClaim) (names []string) {
	add := func(name string) {
		if name != "" {
			names = append(names, name)
		}
	}
	if name := c.Spec.VolumeAttributesClassName; name != nil {
		add(*name)
	}
	if name := c.Status.CurrentVolumeAttributesClassName; name != nil {
		add(*name)
	}
	if modify := c.Status.ModifyVolumeStatus; modify != nil {
		add(modify.TargetVolumeAttributesClassName)
	}
	return names
}

// namesMatch says whether one of the names is what a scope's expression asks for.
func namesMatch(names []string, s corev1.ScopedResourceSelectorRequirement) bool {
	switch s.Operator {
	case corev1.ScopeSelectorOpExists:
		return len(names) > 0
	case corev1.ScopeSelectorOpDoesNotExist:
		return len(names) == 0
	case corev1.ScopeSelectorOpIn:
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(s.Values, n) })
	case corev1.ScopeSelectorOpNotIn:
		return len(names) == 0 || slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(s.Values, n) })
	}
	return false
}

// MatchingScopes are those of the scopes that o is in.
func MatchingScopes(o api.Object, scopes []corev1.ScopedResourceSelectorRequirement) (out []corev1.ScopedResourceSelectorRequirement) {
	for _, s := range scopes {
		if inScope(o, s) {
			out = append(out, s)
		}
	}
	return out
}

// Scopes returns both forms of a quota's scopes in one.
func Scopes(q *corev1.ResourceQuota) (out []corev1.ScopedResourceSelectorRequirement) {
	for _, s := range q.Spec.Scopes {
		out = append(out, corev1.ScopedResourceSelectorRequirement{ScopeName: s, Operator: corev1.ScopeSelectorOpExists})
	}
	if q.Spec.ScopeSelector != nil {
		out = append(out, q.Spec.ScopeSelector.MatchExpressions...)
	}
	return out
}

// Mask keeps of usage the names that a quota limits.
func Mask(usage corev1.ResourceList, hard corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for k, v := range usage {
		if _, ok := hard[k]; ok {
			out[k] = v
		}
	}
	return out
}

// Add returns the sum of two lists; Subtract the difference. The arguments stay as they are.
func Add(a, b corev1.ResourceList) corev1.ResourceList {
	return combine(a, b, (*resource.Quantity).Add)
}

// Subtract returns a without b.
func Subtract(a, b corev1.ResourceList) corev1.ResourceList {
	return combine(a, b, (*resource.Quantity).Sub)
}

func combine(a, b corev1.ResourceList, op func(*resource.Quantity, resource.Quantity)) corev1.ResourceList {
	out := corev1.ResourceList{}
	for k, v := range a {
		out[k] = v.DeepCopy()
	}
	for k, v := range b {
		sum := out[k]
		op(&sum, v)
		out[k] = sum
	}
	return out
}

// Count adds up what all objects count for in q: its status.used.
func Count(q *corev1.ResourceQuota, objects func(yield func(api.Resource, api.Object) bool)) corev1.ResourceList {
	used := corev1.ResourceList{}
	for name := range q.Spec.Hard {
		used[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	for r, o := range objects {
		if Matches(q, o) {
			used = Add(used, Mask(Usage(r, o), q.Spec.Hard))
		}
	}
	return used
}

// Exceeded returns, in upstream's words, what does not fit any more if delta is added to what q has used;
// nil if all of it fits.
func Exceeded(q *corev1.ResourceQuota, used, delta corev1.ResourceList) error {
	var over []corev1.ResourceName
	for name, d := range delta {
		hard, limited := q.Spec.Hard[name]
		if !limited || d.Sign() <= 0 {
			continue
		}
		sum := used[name].DeepCopy()
		sum.Add(d)
		if sum.Cmp(hard) > 0 {
			over = append(over, name)
		}
	}
	if len(over) == 0 {
		return nil
	}
	return fmt.Errorf("exceeded quota: %s, requested: %s, used: %s, limited: %s",
		q.Name, show(delta, over), show(used, over), show(q.Spec.Hard, over))
}

func show(l corev1.ResourceList, names []corev1.ResourceName) string {
	slices.Sort(names)
	var parts []string
	for _, n := range names {
		v := l[n]
		parts = append(parts, string(n)+"="+v.String())
	}
	return strings.Join(parts, ",")
}

// Negative lists the names of which there is less than nothing, in order.
func Negative(l corev1.ResourceList) (names []string) {
	for name, v := range l {
		if v.Sign() < 0 {
			names = append(names, string(name))
		}
	}
	slices.Sort(names)
	return names
}

// Same says whether two lists have the same names and amounts.
func Same(a, b corev1.ResourceList) bool {
	return maps.EqualFunc(a, b, func(x, y resource.Quantity) bool { return x.Cmp(y) == 0 })
}
