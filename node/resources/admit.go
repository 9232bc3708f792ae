package resources

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api/containers"
	"clipper/node/resources/affinity"
	"clipper/node/runtime"
)

// A refusal is why a pod cannot have what it asks for. The words are the kubelet's.
type refusal struct{ reason, message string }

func (r *refusal) Error() string                     { return r.message }
func (r *refusal) Refusal() (reason, message string) { return r.reason, r.message }

var errNoAffinity = &refusal{"TopologyAffinityError", "Resources cannot be allocated with Topology locality"}

// refuse words an error for the pod's status.
func refuse(err error) error {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	if named := (interface{ Reason() string })(nil); errors.As(err, &named) {
		return &refusal{named.Reason(), err.Error()}
	}
	return &refusal{"UnexpectedAdmissionError", fmt.Sprintf("Allocate failed due to %v, which is unexpected", err)}
}

// Allocate gives a pod's containers all that they ask for, or nothing.
func (m *Manager) Allocate(ctx context.Context, pod *corev1.Pod, running bool) error {
	if m.cfg.Devices.Wants(pod) || m.pinned(pod) {
		if err := m.admit(ctx, pod, running); err != nil {
			return err
		}
	}
	if hasClaims(pod) {
		return m.cfg.Claims.Prepare(ctx, pod, running)
	}
	return nil
}

func (m *Manager) admit(ctx context.Context, pod *corev1.Pod, running bool) error {
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-m.turn }()
	began := time.Now()
	err := m.serve(ctx, pod, running)
	m.metrics.admitted(began, err)
	m.settle(pod)
	m.poke()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err() // the pod is being deleted: nobody's fault
	}
	return errors.Join(refuse(err), m.give(pod.UID))
}

// serve finds the NUMA nodes for each container, or for all together, and takes what they need.
func (m *Manager) serve(ctx context.Context, pod *corev1.Pod, running bool) error {
	var hint affinity.Hint
	whole := m.cfg.Settings.TopologyManagerScope == "pod"
	if m.policy.Aligns() && whole {
		var ok bool
		if hint, ok = m.policy.Merge(m.podHints(pod)); !ok {
			return errNoAffinity
		}
	}
	for c := range containers.Of(&pod.Spec) {
		if m.policy.Aligns() && !whole {
			var ok bool
			if hint, ok = m.policy.Merge(m.hints(pod, c)); !ok {
				return errNoAffinity
			}
		}
		if err := m.take(ctx, pod, c, hint, running); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) hints(pod *corev1.Pod, c *corev1.Container) []affinity.Hints {
	out := []affinity.Hints{m.cfg.Devices.Hints(pod, c)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cpus != nil {
		out = append(out, m.cpus.Hints(pod, c))
	}
	if m.memory != nil {
		out = append(out, m.memory.Hints(pod, c))
	}
	return out
}

func (m *Manager) podHints(pod *corev1.Pod) []affinity.Hints {
	out := []affinity.Hints{m.cfg.Devices.PodHints(pod)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cpus != nil {
		out = append(out, m.cpus.PodHints(pod))
	}
	if m.memory != nil {
		out = append(out, m.memory.PodHints(pod))
	}
	return out
}

// take gives one container what it asks for.
func (m *Manager) take(ctx context.Context, pod *corev1.Pod, c *corev1.Container, hint affinity.Hint, running bool) error {
	if err := m.cfg.Devices.Allocate(ctx, pod, c, hint, running); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cpus != nil {
		wanted := m.cpus.WantsFor(pod, c)
		if err := counted(wanted, m.metrics.cpuRequests, m.metrics.cpuErrors, m.cpus.Allocate(pod, c, hint)); err != nil {
			return err
		}
	}
	if m.memory != nil {
		return counted(m.memory.Wants(pod), m.metrics.memoryRequests, m.metrics.memoryErrors, m.memory.Allocate(pod, c, hint))
	}
	return nil
}

func (m *Manager) settle(pod *corev1.Pod) {
	m.cfg.Devices.Settled(pod.UID)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cpus != nil {
		m.cpus.Settled(pod.UID)
	}
	if m.memory != nil {
		m.memory.Settled(pod.UID)
	}
}

// cpusOf returns the CPUs that a container is to run on.
func (m *Manager) cpusOf(c *runtime.ContainerStatus) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	cpus, _ := m.cpus.Of(types.UID(c.PodUID), c.Name)
	return cpus.String()
}

// reconcile puts running containers on their CPUs. applied is what they have been put on before, by their IDs.
func (m *Manager) reconcile(ctx context.Context, applied map[string]string) {
	sandboxes, running, err := m.cfg.Runtime.List(ctx)
	if err != nil {
		return // the next time will do
	}
	ours := map[string]bool{}
	for _, s := range sandboxes {
		ours[s.ID] = !s.External
	}
	seen := map[string]bool{}
	for i := range running {
		c := &running[i]
		if c.State == runtime.Exited || !ours[c.SandboxID] {
			continue
		}
		seen[c.ID] = true
		if want := m.cpusOf(c); want != applied[c.ID] {
			if err := m.cfg.Runtime.UpdateResources(ctx, c.ID, runtime.Resources{CpusetCpus: want}); err != nil {
				slog.Debug("Moving a container to other CPUs failed; it will be tried again", "container", c.ID, "cpus", want, "err", err)
				continue
			}
			applied[c.ID] = want
		}
	}
	for id := range applied {
		if !seen[id] {
			delete(applied, id)
		}
	}
}
