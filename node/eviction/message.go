package eviction

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"

	"clipper/api/containers"
	"clipper/node/eviction/threshold"
)

// Reason is what the status and the event of an evicted pod say, and a refusal for want of room.
const Reason = "Evicted"

// An explanation tells why a pod went: to its reader, and to programs that read the event.
type explanation struct {
	message     string
	annotations map[string]string
}

// explain says which resource was short, and which of the pod's containers use more of it than they asked
// for. The words are upstream's.
func explain(what corev1.ResourceName, c Candidate, starved []threshold.Threshold, o Observations) explanation {
	e := explanation{message: fmt.Sprintf("The node was low on resource: %v. ", what), annotations: map[string]string{}}
	for _, t := range starved {
		if ob, ok := o[t.Signal]; ok && t.Signal.Resource() == what {
			quantity := t.Value.Of(ob.Capacity)
			e.message += fmt.Sprintf("Threshold quantity: %v, available: %v. ", &quantity, &ob.Available)
			break
		}
	}
	if c.Usage == nil {
		return e
	}
	e.blamePod(what, c)
	e.blameContainers(what, c)
	e.annotations["starved_resource"] = string(what)
	return e
}

// blamePod names the pod as a whole if it asked for memory as a whole.
func (e *explanation) blamePod(what corev1.ResourceName, c Candidate) {
	if what != corev1.ResourceMemory || !podresource.IsPodLevelResourcesSet(c.Pod) {
		return
	}
	if request, ok := c.Pod.Spec.Resources.Requests[what]; ok {
		used := bytes(c.Usage.Memory)
		e.message += fmt.Sprintf("Pod %s was using %s, request is %s, has larger consumption of %v. ", c.Pod.Name, used, &request, what)
		e.annotations["offending_pod"], e.annotations["offending_pod_usage"] = c.Pod.Name, used.String()
	}
}

func (e *explanation) blameContainers(what corev1.ResourceName, c Candidate) {
	var names, usages []string
	for _, u := range c.Usage.Containers {
		var used *resource.Quantity
		switch what {
		case corev1.ResourceMemory:
			used = bytes(u.Memory)
		case corev1.ResourceEphemeralStorage:
			used = bytes(u.Rootfs.Bytes + u.Logs.Bytes)
		default:
			continue
		}
		spec := containers.Named(&c.Pod.Spec, u.Name)
		if spec == nil {
			continue // an ephemeral one, which cannot ask for anything
		}
		request := spec.Resources.Requests[what]
		if used.Cmp(request) <= 0 {
			continue
		}
		e.message += fmt.Sprintf("Container %s was using %s, request is %s, has larger consumption of %v. ", u.Name, used, &request, what)
		names, usages = append(names, u.Name), append(usages, used.String())
	}
	e.annotations["offending_containers"] = strings.Join(names, ",")
	e.annotations["offending_containers_usage"] = strings.Join(usages, ",")
}

func bytes(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.BinarySI) }
