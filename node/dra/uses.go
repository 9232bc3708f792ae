package dra

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"clipper/node/runtime"
)

// A use is a claim that a container uses: all of it, or one request.
type use struct {
	entry   string // the pod's name for it; "" for the claim of extended resources
	claim   claimKey
	request string
}

// uses lists what a container uses.
func uses(pod *corev1.Pod, c *corev1.Container) ([]use, error) {
	var out []use
	for i := range pod.Spec.ResourceClaims {
		entry := &pod.Spec.ResourceClaims[i]
		name, _, err := resourceclaim.Name(pod, entry)
		if err != nil {
			return nil, err
		}
		for _, r := range c.Resources.Claims {
			if r.Name == entry.Name && name != nil {
				out = append(out, use{entry.Name, claimKey{pod.Namespace, *name}, r.Request})
			}
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		for _, r := range s.RequestMappings {
			if q := c.Resources.Requests[corev1.ResourceName(r.ResourceName)]; r.ContainerName == c.Name && !q.IsZero() {
				out = append(out, use{"", claimKey{pod.Namespace, s.ResourceClaimName}, r.RequestName})
			}
		}
	}
	return out, nil
}

// Container adds the devices of a container's claims to its specification.
func (m *Manager) Container(pod *corev1.Pod, c *corev1.Container, spec *runtime.Container) error {
	list, err := uses(pod, c)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, u := range list {
		have := m.claims[u.claim]
		if have == nil {
			return fmt.Errorf("internal error: unable to get claim info for ResourceClaim %s in namespace %s", u.claim.name, u.claim.namespace)
		}
		have.each(u.request, func(_ string, d *device) {
			for _, id := range d.CDIDeviceIDs {
				if !slices.Contains(spec.CDIDevices, id) {
					spec.CDIDevices = append(spec.CDIDevices, id)
				}
			}
		})
	}
	return nil
}

// A Used device is one that a container has by a claim.
type Used struct {
	Claim, Namespace   string
	Driver, Pool, Name string
	ShareID            *types.UID
	CDI                []string
}

// Used lists the devices that a container has by claims.
func (m *Manager) Used(pod *corev1.Pod, c *corev1.Container) []Used {
	list, err := uses(pod, c)
	if err != nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Used
	for _, u := range list {
		have := m.claims[u.claim]
		if have == nil {
			continue
		}
		have.each(resourceclaim.BaseRequestRef(u.request), func(driver string, d *device) {
			out = append(out, Used{u.claim.name, u.claim.namespace, driver, d.PoolName, d.DeviceName, d.ShareID, slices.Clone(d.CDIDeviceIDs)})
		})
	}
	return out
}
