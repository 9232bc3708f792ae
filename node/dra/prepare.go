package dra

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"

	"clipper/api"
)

// podClaims lists a pod's entries for claims, the one made for its extended resources included.
func podClaims(pod *corev1.Pod) []corev1.PodResourceClaim {
	out := slices.Clone(pod.Spec.ResourceClaims)
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		out = append(out, corev1.PodResourceClaim{ResourceClaimName: &s.ResourceClaimName})
	}
	return out
}

// keysOf returns the claims of a pod that exist.
func keysOf(pod *corev1.Pod) ([]claimKey, error) {
	var out []claimKey
	list := podClaims(pod)
	for i := range list {
		name, _, err := resourceclaim.Name(pod, &list[i])
		if err != nil {
			return nil, err
		}
		if name != nil {
			out = append(out, claimKey{pod.Namespace, *name})
		}
	}
	return out, nil
}

// Prepare has the drivers make a pod's claims ready. Of one whose containers run already nothing is asked again.
// Errors are the kubelet's.
func (m *Manager) Prepare(ctx context.Context, pod *corev1.Pod, running bool) (err error) {
	defer func(began time.Time) { m.metrics.timed("PrepareResources", began, err) }(time.Now())
	keys, err := keysOf(pod)
	if err == nil {
		var release func()
		if release, err = m.hold(ctx, keys); err == nil {
			defer release()
			err = m.prepare(ctx, pod, running)
		}
	}
	if err != nil {
		return fmt.Errorf("prepare dynamic resources: %w", err)
	}
	return nil
}

func (m *Manager) prepare(ctx context.Context, pod *corev1.Pod, running bool) error {
	if running && m.allKnown(pod) {
		return nil
	}
	claims, err := m.fetch(ctx, pod)
	if err != nil {
		return err
	}
	todo, err := m.enlist(pod, claims)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		if err := m.prepareWith(ctx, name, todo[name]); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, list := range todo {
		for _, c := range list {
			c.prepared = true
		}
	}
	return m.save()
}

// allKnown reports whether all claims of a pod have been prepared for it.
func (m *Manager) allKnown(pod *corev1.Pod) bool {
	keys, err := keysOf(pod)
	m.mu.Lock()
	defer m.mu.Unlock()
	return err == nil && !slices.ContainsFunc(keys, func(k claimKey) bool {
		c := m.claims[k]
		return c == nil || !c.PodUIDs.Has(string(pod.UID))
	})
}

// fetch reads a pod's claims and checks that it may use them and that their drivers are there. Nothing is noted
// before all that is so: a pod that cannot start can still be deleted, driver or not.
func (m *Manager) fetch(ctx context.Context, pod *corev1.Pod) ([]*claim, error) {
	var out []*claim
	list := podClaims(pod)
	for i := range list {
		name, owned, err := resourceclaim.Name(pod, &list[i])
		if err != nil {
			return nil, err
		}
		if name == nil {
			continue // none has been generated: there is nothing to be had
		}
		obj, err := api.ResourceClaims.Get(ctx, m.cfg.Client, pod.Namespace, *name)
		if err != nil {
			return nil, fmt.Errorf("fetch ResourceClaim %s: %w", *name, err)
		}
		if err := allowed(pod, obj, owned); err != nil {
			return nil, err
		}
		c, err := newClaim(obj)
		if err != nil {
			return nil, err
		}
		for _, driver := range slices.Sorted(maps.Keys(c.DriverState)) {
			if _, err := m.driver(driver); err != nil {
				return nil, err
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// allowed says why a pod may not use a claim.
func allowed(pod *corev1.Pod, c *resourcev1.ResourceClaim, owned bool) error {
	if owned {
		if err := resourceclaim.IsForPod(pod, c, false); err != nil {
			return err
		}
	}
	if !resourceclaim.IsReservedForPod(pod, c, false) {
		return fmt.Errorf("pod %s (%s) is not allowed to use ResourceClaim %s (%s)", pod.Name, pod.UID, c.Name, c.UID)
	}
	return nil
}

// enlist notes that the pod uses the claims, and returns those that have yet to be prepared, by driver.
func (m *Manager) enlist(pod *corev1.Pod, claims []*claim) (map[string][]*claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	todo := map[string][]*claim{}
	for _, c := range claims {
		if have := m.claims[c.key()]; have == nil {
			m.claims[c.key()] = c
		} else if have.ClaimUID != c.ClaimUID {
			return nil, fmt.Errorf("old ResourceClaim with same name %s and different UID %s still exists (previous pod force-deleted?!)", c.ClaimName, have.ClaimUID)
		} else {
			c = have
		}
		c.PodUIDs.Insert(string(pod.UID))
		for name := range c.DriverState {
			if !c.prepared && !slices.Contains(todo[name], c) {
				todo[name] = append(todo[name], c)
			}
		}
	}
	return todo, m.save()
}

// request is what a driver is told of claims.
func request(claims []*claim) []*drav1.Claim {
	out := make([]*drav1.Claim, len(claims))
	for i, c := range claims {
		out[i] = &drav1.Claim{Namespace: c.Namespace, Uid: string(c.ClaimUID), Name: c.ClaimName}
	}
	return out
}

func byUID(claims []*claim, uid string) *claim {
	for _, c := range claims {
		if string(c.ClaimUID) == uid {
			return c
		}
	}
	return nil
}

// prepareWith has one driver prepare claims, and notes what it says of their devices.
func (m *Manager) prepareWith(ctx context.Context, name string, claims []*claim) error {
	d, err := m.driver(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := d.client.NodePrepareResources(ctx, &drav1.NodePrepareResourcesRequest{Claims: request(claims)})
	if err != nil {
		return fmt.Errorf("NodePrepareResources: %w", err)
	}
	for uid, result := range answer.Claims {
		c := byUID(claims, uid)
		if c == nil {
			return fmt.Errorf("NodePrepareResources returned result for unknown claim UID %s", uid)
		}
		if result.GetError() != "" {
			return fmt.Errorf("NodePrepareResources failed for ResourceClaim %s: %s", c.ClaimName, result.Error)
		}
		m.mu.Lock()
		c.DriverState[name] = devicesOf(result)
		m.mu.Unlock()
	}
	if skipped := len(claims) - len(answer.Claims); skipped != 0 {
		return fmt.Errorf("NodePrepareResources skipped %d ResourceClaims", skipped)
	}
	return nil
}

func devicesOf(r *drav1.NodePrepareResourceResponse) *driverState {
	out := &driverState{}
	for _, d := range r.GetDevices() {
		out.Devices = append(out.Devices, device{PoolName: d.PoolName, DeviceName: d.DeviceName, ShareID: (*types.UID)(d.ShareId),
			RequestNames: d.RequestNames, CDIDeviceIDs: d.CdiDeviceIds})
	}
	return out
}
