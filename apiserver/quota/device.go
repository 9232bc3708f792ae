package quota

import (
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/api"
)

// deviceUsage counts a claim, and its devices by class. Claims that the scheduler makes for a pod's
// extended resources are counted with the pod under the name that pods use.
func deviceUsage(r api.Resource, c *resourcev1.ResourceClaim) corev1.ResourceList {
	devices := map[string]int64{}
	for i := range c.Spec.Devices.Requests {
		for class, n := range requestedDevices(&c.Spec.Devices.Requests[i]) {
			devices[class] += n
		}
	}
	ofPod := c.Annotations[resourcev1.ExtendedResourceClaimAnnotation] == "true"
	out := corev1.ResourceList{CountName(r): one}
	for class, n := range devices {
		q := *resource.NewQuantity(n, resource.DecimalSI)
		out[corev1.ResourceName(class+corev1.ResourceClaimsPerClass)] = q
		if !ofPod {
			out[corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass+class)] = q
		}
	}
	return out
}

// requestedDevices is the most that a request may take, by class: of alternatives, each class's largest.
func requestedDevices(r *resourcev1.DeviceRequest) map[string]int64 {
	out := map[string]int64{}
	if e := r.Exactly; e != nil && len(r.FirstAvailable) == 0 {
		out[e.DeviceClassName] = deviceCount(e.AllocationMode, e.Count)
	}
	for _, sub := range r.FirstAvailable {
		out[sub.DeviceClassName] = max(out[sub.DeviceClassName], deviceCount(sub.AllocationMode, sub.Count))
	}
	return out
}

func deviceCount(mode resourcev1.DeviceAllocationMode, n int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return n
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize // the worst case
	}
	return 0
}
