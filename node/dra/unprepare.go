package dra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	drav1 "k8s.io/kubelet/pkg/apis/dra/v1"
)

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
