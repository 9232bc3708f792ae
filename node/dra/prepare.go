package dra

import (
	"context"
	"errors"
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
	"clipper/node/runtime"
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

// Unprepare has the drivers put away those of a pod's claims that no other pod uses. Errors are the kubelet's.
func (m *Manager) Unprepare(ctx context.Context, pod *corev1.Pod) error {
	began := time.Now()
	err := m.leave(ctx, pod.UID)
	m.metrics.timed("UnprepareResources", began, err)
	return err
}

// sweep puts away the claims of pods that are gone: they ended while no agent ran, or their driver was not there.
func (m *Manager) sweep(ctx context.Context) error {
	users := map[types.UID]bool{}
	m.mu.Lock()
	for _, c := range m.claims {
		for uid := range c.PodUIDs {
			users[types.UID(uid)] = true
		}
	}
	m.mu.Unlock()
	var errs []error
	for pod := range users {
		if !m.cfg.Active(pod) {
			errs = append(errs, m.leave(ctx, pod))
		}
	}
	return errors.Join(errs...)
}

// leave ends a pod's use of its claims.
func (m *Manager) leave(ctx context.Context, pod types.UID) error {
	keys := m.used(pod)
	if len(keys) == 0 {
		return nil
	}
	release, err := m.hold(ctx, keys)
	if err == nil {
		defer release()
		err = m.unprepare(ctx, pod, keys)
	}
	if err != nil {
		return fmt.Errorf("unprepare dynamic resources: %w", err)
	}
	return nil
}

// used returns the claims that a pod is noted for.
func (m *Manager) used(pod types.UID) []claimKey {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []claimKey
	for k, c := range m.claims {
		if c.PodUIDs.Has(string(pod)) {
			out = append(out, k)
		}
	}
	return out
}

func (m *Manager) unprepare(ctx context.Context, pod types.UID, keys []claimKey) error {
	todo := map[string][]*claim{}
	var last []*claim
	m.mu.Lock()
	for _, k := range keys {
		c := m.claims[k]
		if c == nil {
			continue
		}
		if len(c.PodUIDs) > 1 {
			c.PodUIDs.Delete(string(pod))
			continue
		}
		last = append(last, c)
		for name := range c.DriverState {
			todo[name] = append(todo[name], c)
		}
	}
	m.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(todo)) {
		if err := m.unprepareWith(ctx, name, todo[name]); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range last {
		delete(m.claims, c.key())
	}
	return m.save()
}

func (m *Manager) unprepareWith(ctx context.Context, name string, claims []*claim) error {
	d, err := m.driver(name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := d.client.NodeUnprepareResources(ctx, &drav1.NodeUnprepareResourcesRequest{Claims: request(claims)})
	if err != nil {
		return fmt.Errorf("NodeUnprepareResources: %w", err)
	}
	for uid, result := range answer.Claims {
		c := byUID(claims, uid)
		if c == nil {
			return fmt.Errorf("NodeUnprepareResources returned result for unknown claim UID %s", uid)
		}
		if result.GetError() != "" {
			return fmt.Errorf("NodeUnprepareResources failed for ResourceClaim %s: %s", c.ClaimName, result.Error)
		}
	}
	if skipped := len(claims) - len(answer.Claims); skipped != 0 {
		return fmt.Errorf("NodeUnprepareResources skipped %d ResourceClaims", skipped)
	}
	return nil
}

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
