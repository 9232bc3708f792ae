package memory

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api/containers"
	"clipper/node/resources/affinity"
)

// Hints says from which NUMA nodes a container's memory can come.
func (p *Static) Hints(pod *corev1.Pod, c *corev1.Container) affinity.Hints {
	if !manages(pod) {
		return nil
	}
	if blocks, ok := p.state.of(pod.UID, c.Name); ok {
		return again(blocks, requestOf(c))
	}
	return p.hints(pod.UID, requestOf(c))
}

// PodHints says from which NUMA nodes a pod's memory can come.
func (p *Static) PodHints(pod *corev1.Pod) affinity.Hints {
	want := requestOfPod(pod)
	if !manages(pod) || len(want) == 0 {
		return nil
	}
	for c := range containers.Of(&pod.Spec) {
		if blocks, ok := p.state.of(pod.UID, c.Name); ok {
			return again(blocks, want)
		}
	}
	return p.hints(pod.UID, want)
}

// again gives as hints what has been handed out already, if that is what is asked for.
func again(blocks []Block, want request) affinity.Hints {
	out := affinity.Hints{}
	for _, b := range blocks {
		if size, ok := want[b.Type]; !ok || size != b.Size || len(blocks) != len(want) {
			return nil
		}
		out[string(b.Type)] = append(out[string(b.Type)], affinity.Hint{Nodes: affinity.MaskOf(b.NUMAAffinity...), Preferred: true})
	}
	return out
}

// hints lists the sets of nodes that have what is wanted. The narrowest that could ever have it are preferred.
func (p *Static) hints(pod types.UID, want request) affinity.Hints {
	ids := slices.Sorted(maps.Keys(p.state.machine))
	least := len(ids)
	out := affinity.Hints{}
	affinity.Combinations(ids, func(m affinity.Mask) {
		if !p.state.machine.ever(m, want) {
			return
		}
		least = min(least, m.Count())
		if p.state.machine.splits(m) || p.state.machine.joined(m) || !p.hasNow(pod, m, want) {
			return
		}
		for name := range want {
			out[string(name)] = append(out[string(name)], affinity.Hint{Nodes: m})
		}
	})
	for _, list := range out {
		for i := range list {
			list[i].Preferred = list[i].Nodes.Count() == least
		}
	}
	return out
}

func (p *Static) hasNow(pod types.UID, m affinity.Mask, want request) bool {
	for name, size := range want {
		if p.state.machine.free(m, name)+p.reuse[pod][kept{m, name}] < size {
			return false
		}
	}
	return true
}
