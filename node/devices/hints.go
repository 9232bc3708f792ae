package devices

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	helpers "k8s.io/component-helpers/resource"

	"clipper/node/resources/affinity"
)

// Hints says near which NUMA nodes a container's devices can be found.
func (m *Manager) Hints(pod *corev1.Pod, c *corev1.Container) affinity.Hints {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := affinity.Hints{}
	for _, name := range m.wanted(c) {
		q := c.Resources.Limits[corev1.ResourceName(name)]
		var has Set
		if g := m.granted[pod.UID][c.Name][name]; g != nil {
			has = g.all()
		}
		out[name] = m.hintsOf(name, int(q.Value()), has, m.reuse[pod.UID][name])
	}
	return out
}

// PodHints says near which NUMA nodes a pod's devices can be found.
func (m *Manager) PodHints(pod *corev1.Pod) affinity.Hints {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := affinity.Hints{}
	for name, q := range helpers.PodLimits(pod, helpers.PodResourcesOptions{ExcludeOverhead: true}) {
		if !m.managed(string(name)) {
			continue
		}
		has := Set{}
		for _, grants := range m.granted[pod.UID] {
			if g := grants[string(name)]; g != nil {
				has = has.Union(g.all())
			}
		}
		out[string(name)] = m.hintsOf(string(name), int(q.Value()), has, nil)
	}
	return out
}

// hintsOf returns nil for a resource whose devices are nowhere near any node.
func (m *Manager) hintsOf(name string, want int, has, reusable Set) []affinity.Hint {
	r := m.resources[name]
	if !r.aligned() {
		return nil
	}
	if len(has) > 0 {
		if len(has) != want {
			return []affinity.Hint{}
		}
		return m.combine(r, has, nil, want)
	}
	available := r.healthy().Difference(m.inUse(name))
	if len(available.Union(reusable)) < want {
		return []affinity.Hint{}
	}
	return m.combine(r, available, reusable, want)
}

// combine lists the sets of nodes that are near enough devices, all reusable ones included. The narrowest that are
// near so many at all are preferred.
func (m *Manager) combine(r *kind, available, reusable Set, want int) []affinity.Hint {
	nodes := m.nodesOf(r)
	least := len(nodes)
	list := []affinity.Hint{}
	affinity.Combinations(nodes, func(mask affinity.Mask) {
		near := func(id string) bool { return slices.ContainsFunc(r.devices[id].nodes, mask.Has) }
		all, matching := 0, 0
		for id := range r.devices {
			if near(id) {
				all++
			}
		}
		if all >= want {
			least = min(least, mask.Count())
		}
		for id := range reusable {
			if len(r.devices[id].nodes) == 0 {
				continue
			}
			if !near(id) {
				return
			}
			matching++
		}
		for id := range available {
			if near(id) {
				matching++
			}
		}
		if matching >= want {
			list = append(list, affinity.Hint{Nodes: mask})
		}
	})
	for i := range list {
		list[i].Preferred = list[i].Nodes.Count() == least
	}
	return list
}

// nodesOf returns the machine's nodes that devices of a resource are near to; all of them if it names none we know.
func (m *Manager) nodesOf(r *kind) []int {
	known, near := sets.New(m.cfg.Nodes()...), sets.New[int]()
	for _, d := range r.devices {
		near.Insert(d.nodes...)
	}
	if near = near.Intersection(known); len(near) == 0 {
		near = known
	}
	return sets.List(near)
}
