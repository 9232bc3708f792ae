package cpu

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/cpuset"

	"clipper/api/containers"
	"clipper/node/resources/affinity"
	"clipper/node/resources/topology"
)

// Hints says from which NUMA nodes a container's CPUs can come.
func (p *Static) Hints(pod *corev1.Pod, c *corev1.Container) affinity.Hints {
	n := wanted(pod, c)
	if n == 0 {
		return nil
	}
	if has, ok := p.state.of(pod.UID, c.Name); ok {
		if has.Size() != n {
			return affinity.Hints{string(corev1.ResourceCPU): {}}
		}
		return p.hints(has, cpuset.New(), n)
	}
	return p.hints(p.available(), p.reuse[pod.UID], n)
}

// PodHints says from which NUMA nodes a pod's CPUs can come.
func (p *Static) PodHints(pod *corev1.Pod) affinity.Hints {
	n := wantedByPod(pod)
	if n == 0 {
		return nil
	}
	has := cpuset.New()
	for c := range containers.Of(&pod.Spec) {
		cpus, ok := p.state.of(pod.UID, c.Name)
		if ok && cpus.Size() != wanted(pod, c) {
			return affinity.Hints{string(corev1.ResourceCPU): {}}
		}
		has = has.Union(cpus)
	}
	if has.Size() == n {
		return p.hints(has, cpuset.New(), n)
	}
	return p.hints(p.available(), p.reuse[pod.UID].Union(has), n)
}

// hints lists the sets of nodes that have n CPUs among the available ones, all reusable ones included. The narrowest
// that such a machine can have are preferred, though they may not be available.
func (p *Static) hints(available, reusable cpuset.CPUSet, n int) affinity.Hints {
	nodes := p.machine.NodeIDs()
	least := len(nodes)
	list := []affinity.Hint{}
	affinity.Combinations(nodes, func(m affinity.Mask) {
		all := p.machine.In(topology.ByNode, m.Nodes()...)
		if all.Size() >= n {
			least = min(least, m.Count())
		}
		if reusable.IsSubsetOf(all) && reusable.Size()+available.Intersection(all).Size() >= n {
			list = append(list, affinity.Hint{Nodes: m})
		}
	})
	for i := range list {
		list[i].Preferred = list[i].Nodes.Count() == least || p.inSockets(list[i].Nodes, least)
	}
	return affinity.Hints{string(corev1.ResourceCPU): list}
}

// inSockets reports whether nodes lie in as few sockets as so many nodes can.
func (p *Static) inSockets(nodes affinity.Mask, least int) bool {
	each := len(p.machine.NodeIDs()) / max(p.machine.Sockets, 1)
	if !p.options[alignBySocket] || each == 0 {
		return false
	}
	sockets := p.machine.Groups(topology.BySocket, p.machine.In(topology.ByNode, nodes.Nodes()...))
	return len(sockets) == (least+each-1)/each
}
