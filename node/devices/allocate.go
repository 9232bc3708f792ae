package devices

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"clipper/node/resources/affinity"
)

// Set is a set of device IDs.
type Set = sets.Set[string]

// Allocate gives a container the devices that it asks for, those near the NUMA nodes of hint first. Of a pod whose
// containers run already, as a former agent has left it, nothing is changed. Errors are the kubelet's.
func (m *Manager) Allocate(ctx context.Context, pod *corev1.Pod, c *corev1.Container, hint affinity.Hint, running bool) error {
	m.mu.Lock()
	names := m.wanted(c)
	m.mu.Unlock()
	for _, name := range names {
		quantity := c.Resources.Limits[corev1.ResourceName(name)]
		if byClaim(pod, c.Name, name) || running {
			continue
		}
		p := &pick{m: m, pod: pod.UID, container: c.Name, name: name, want: int(quantity.Value()), nodes: hint.Nodes}
		m.awaitPlugin(ctx, p)
		if err := p.allocate(ctx); err != nil {
			return err
		}
	}
	m.remember(pod, c)
	return nil
}

// comeBack is how long after the agent's start plug-ins have to register again, before pods that were using their
// devices, and happen not to be running, are turned away.
const comeBack = 10 * time.Second

// awaitPlugin gives the plug-in of a container's former devices that time.
func (m *Manager) awaitPlugin(ctx context.Context, p *pick) {
	ctx, cancel := context.WithDeadline(ctx, m.started.Add(comeBack))
	defer cancel()
	for {
		m.mu.Lock()
		r, has, news := m.resources[p.name], m.granted[p.pod][p.container][p.name], m.news
		wait := has != nil && r != nil && !r.stopped.IsZero()
		m.mu.Unlock()
		if !wait {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
	}
}

// byClaim reports whether a container gets a resource by a resource claim made for that, not from a plug-in.
func byClaim(pod *corev1.Pod, container, name string) bool {
	s := pod.Status.ExtendedResourceClaimStatus
	return s != nil && slices.ContainsFunc(s.RequestMappings, func(r corev1.ContainerExtendedResourceRequest) bool {
		return r.ContainerName == container && r.ResourceName == name
	})
}

// remember notes what later containers of the pod may use too: an init container has ended by then.
func (m *Manager) remember(pod *corev1.Pod, c *corev1.Container) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.granted[pod.UID][c.Name]) == 0 {
		return
	}
	if m.reuse[pod.UID] == nil {
		m.reuse[pod.UID] = map[string]Set{}
	}
	init := slices.ContainsFunc(pod.Spec.InitContainers, func(i corev1.Container) bool {
		return i.Name == c.Name && (i.RestartPolicy == nil || *i.RestartPolicy != corev1.ContainerRestartPolicyAlways)
	})
	for name, g := range m.granted[pod.UID][c.Name] {
		if init {
			m.reuse[pod.UID][name] = m.reuse[pod.UID][name].Union(g.all())
		} else {
			m.reuse[pod.UID][name] = m.reuse[pod.UID][name].Difference(g.all())
		}
	}
}

// A pick is the choice of a container's devices of one resource.
type pick struct {
	m         *Manager
	pod       types.UID
	container string
	name      string
	want      int
	nodes     affinity.Mask
	got       Set
}

// allocate chooses devices, notes them, and asks the plug-in what it takes to use them. The note comes first: no two
// containers must get the same device, and the plug-in may think for a while.
func (p *pick) allocate(ctx context.Context) error {
	e, err := p.choose(ctx)
	if err != nil || len(p.got) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	began := time.Now()
	answer, err := e.client.Allocate(ctx, &plugin.AllocateRequest{ContainerRequests: []*plugin.ContainerAllocateRequest{{DevicesIds: sets.List(p.got)}}})
	p.m.metrics.allocations.WithLabelValues(p.name).Observe(time.Since(began).Seconds())
	if err == nil && len(answer.ContainerResponses) == 0 {
		err = fmt.Errorf("no containers return in allocation response %v", answer)
	}
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if err != nil {
		delete(p.m.granted[p.pod][p.container], p.name)
		return err
	}
	p.m.put(p.pod, p.container, p.name, &grant{p.m.byNode(p.name, sets.List(p.got)), answer.ContainerResponses[0]})
	return p.m.save()
}

// choose picks the devices and returns the plug-in to ask for them. None are picked if the container has them.
func (p *pick) choose(ctx context.Context) (*endpoint, error) {
	m := p.m
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.resources[p.name]
	if err := p.check(r); err != nil {
		return nil, err
	}
	if m.granted[p.pod][p.container][p.name] != nil || p.want == 0 {
		return nil, nil
	}
	p.got = sets.New[string]()
	if p.take(m.reuse[p.pod][p.name]) {
		return r.endpoint, p.note()
	}
	available := r.healthy().Difference(m.inUse(p.name))
	if len(available) < p.missing() {
		return nil, fmt.Errorf("requested number of devices unavailable for %s. Requested: %d, Available: %d", p.name, p.missing(), len(available))
	}
	if err := p.chooseFrom(ctx, r, available); err != nil {
		return nil, err
	}
	return r.endpoint, p.note()
}

// check refuses what cannot be had, whatever is free.
func (p *pick) check(r *kind) error {
	has := p.m.granted[p.pod][p.container][p.name]
	healthy := r.healthy()
	switch {
	case has != nil && len(has.all()) != p.want:
		return fmt.Errorf("pod %q container %q changed request for resource %q from %d to %d", p.pod, p.container, p.name, len(has.all()), p.want)
	case r == nil:
		return fmt.Errorf("cannot allocate unregistered device %s", p.name)
	case len(healthy) == 0:
		return fmt.Errorf("no healthy devices present; cannot allocate unhealthy devices %s", p.name)
	case has != nil && !healthy.IsSuperset(has.all()):
		return fmt.Errorf("previously allocated devices are no longer healthy; cannot allocate unhealthy devices %s", p.name)
	case r.endpoint == nil:
		return fmt.Errorf("unknown Device Plugin %s", p.name)
	}
	return nil
}

// chooseFrom takes devices that are available: those near the wanted NUMA nodes first, and among those that are
// equally near what the plug-in prefers. The lock is given up while the plug-in is asked.
func (p *pick) chooseFrom(ctx context.Context, r *kind, available Set) error {
	near, far, anywhere := p.byDistance(r, available)
	choice := near
	if p.missing() >= len(near) {
		if p.take(near) {
			return nil
		}
		choice = available
	}
	preferred, err := p.preferred(ctx, r.endpoint, choice)
	if err != nil {
		return err
	}
	for _, s := range []Set{preferred.Intersection(choice), near, far, anywhere} {
		if p.take(s.Intersection(available)) {
			return nil
		}
	}
	return fmt.Errorf("unexpectedly allocated less resources than required. Requested: %d, Got: %d", p.want, len(p.got))
}

// byDistance sorts devices by whether they lie on one of the wanted NUMA nodes, on others only, or on none.
func (p *pick) byDistance(r *kind, available Set) (near, far, anywhere Set) {
	near, far, anywhere = Set{}, Set{}, Set{}
	if p.nodes == 0 || !r.aligned() {
		return near, far, available
	}
	for id := range available {
		switch nodes := r.devices[id].nodes; {
		case len(nodes) == 0:
			anywhere.Insert(id)
		case slices.ContainsFunc(nodes, p.nodes.Has):
			near.Insert(id)
		default:
			far.Insert(id)
		}
	}
	return near, far, anywhere
}

// preferred asks the plug-in which devices it would choose, if it has a view.
func (p *pick) preferred(ctx context.Context, e *endpoint, from Set) (Set, error) {
	if !e.options.GetGetPreferredAllocationAvailable() {
		return Set{}, nil
	}
	req := &plugin.PreferredAllocationRequest{ContainerRequests: []*plugin.ContainerPreferredAllocationRequest{{
		AvailableDeviceIDs: sets.List(from.Union(p.got)), MustIncludeDeviceIDs: sets.List(p.got), AllocationSize: int32(p.want)}}}
	p.m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	answer, err := e.client.GetPreferredAllocation(ctx, req)
	p.m.mu.Lock()
	if err != nil {
		return nil, fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %w", err)
	}
	if len(answer.ContainerResponses) == 0 {
		return Set{}, nil
	}
	return sets.New(answer.ContainerResponses[0].DeviceIDs...), nil
}

func (p *pick) missing() int { return p.want - len(p.got) }

// take adds devices of a set until there are enough. It reports whether there are.
func (p *pick) take(from Set) bool {
	for _, id := range sets.List(from.Difference(p.got)) {
		if p.missing() == 0 {
			break
		}
		p.got.Insert(id)
	}
	return p.missing() == 0
}

// note marks the devices as taken while the plug-in is asked. Nothing is written yet: after a crash here the pod has
// not been admitted, and is tried again.
func (p *pick) note() error {
	if p.m.resources[p.name].endpoint == nil {
		return errors.New("unknown Device Plugin " + p.name)
	}
	p.m.put(p.pod, p.container, p.name, &grant{ids: p.m.byNode(p.name, sets.List(p.got))})
	return nil
}
