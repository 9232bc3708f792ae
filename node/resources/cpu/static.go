// Package cpu hands out whole CPUs: what the kubelet calls its CPU manager, with the policy static. A container of a
// guaranteed pod that asks for a whole number of CPUs gets so many for itself; all others share the rest. Which CPUs
// are picked follows the machine's layout, the policy's options, and the NUMA nodes that package affinity has chosen.
package cpu

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/resource"
	"k8s.io/utils/cpuset"

	"clipper/node/cgroup"
	"clipper/node/resources/affinity"
	"clipper/node/resources/topology"
)

// Static is the policy static. It is for one goroutine at a time.
type Static struct {
	machine       *topology.Machine
	options       options
	reserved      cpuset.CPUSet // never handed out; the shared pool runs on them too, unless reserved strictly
	reservedCores cpuset.CPUSet // and what shares their cores
	state         state
	reuse         map[types.UID]cpuset.CPUSet // of init containers that will have ended
}

// Settings say how a Static is made.
type Settings struct {
	Machine  *topology.Machine
	Options  map[string]string
	Features map[string]bool
	Affinity affinity.Policy
	Reserved int64         // milli-CPUs kept from pods
	Specific cpuset.CPUSet // which those are; empty: any
	File     string        // of the checkpoint
}

// New returns the policy with what its checkpoint says. Errors are the kubelet's.
func New(s Settings) (*Static, error) {
	if s.Reserved == 0 {
		return nil, fmt.Errorf("[cpumanager] the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero")
	}
	opts, err := parseOptions(s.Options, s.Features)
	if err == nil {
		err = opts.suit(s.Machine, s.Affinity)
	}
	if err != nil {
		return nil, fmt.Errorf("new static policy error: %w", err)
	}
	p := &Static{machine: s.Machine, options: opts, reuse: map[types.UID]cpuset.CPUSet{}}
	if err := p.reserve(int(math.Ceil(float64(s.Reserved)/1000)), s.Specific); err != nil {
		return nil, fmt.Errorf("new static policy error: %w", err)
	}
	if err := p.state.load(s.File); err != nil {
		return nil, err
	}
	return p, p.check()
}

// reserve sets CPUs aside.
func (p *Static) reserve(n int, specific cpuset.CPUSet) error {
	p.reserved = specific
	if specific.IsEmpty() {
		p.reserved, _ = p.take(p.machine.All(), n)
	}
	if p.reserved.Size() != n {
		return fmt.Errorf("[cpumanager] unable to reserve the required amount of CPUs (size of %s did not equal %d)", p.reserved, n)
	}
	if unknown := p.reserved.Difference(p.machine.All()); !unknown.IsEmpty() {
		return fmt.Errorf("[cpumanager] unable to build the reserved physical CPUs from the reserved set: unknown CPU ID: %d", unknown.List()[0])
	}
	p.reservedCores = p.machine.In(topology.ByCore, p.machine.Groups(topology.ByCore, p.reserved)...)
	return nil
}

func (p *Static) take(free cpuset.CPUSet, n int) (cpuset.CPUSet, error) {
	c := choice{spread: p.options[acrossCores], byCache: p.options[byCache], balanced: p.options[acrossNodes], group: 1}
	if p.options[fullCores] {
		c.group = p.machine.CPUsPerCore()
	}
	return take(p.machine, free, n, c)
}

// wanted returns how many CPUs a container is to have for itself.
func wanted(pod *corev1.Pod, c *corev1.Container) int {
	cpu := c.Resources.Requests[corev1.ResourceCPU]
	if cgroup.QOS(pod) != corev1.PodQOSGuaranteed || cpu.Value()*1000 != cpu.MilliValue() {
		return 0
	}
	if resource.IsPodLevelResourcesSet(pod) {
		return 0 // the pod as a whole is guaranteed, not the container
	}
	return int(cpu.Value())
}

// wantedByPod returns how many CPUs a pod's containers have for themselves at most at one time.
func wantedByPod(pod *corev1.Pod) int {
	starting, staying := 0, 0
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		n := wanted(pod, c)
		if restartable(c) {
			staying += n
		} else {
			starting = max(starting, staying+n)
		}
	}
	for i := range pod.Spec.Containers {
		staying += wanted(pod, &pod.Spec.Containers[i])
	}
	return max(starting, staying)
}

func restartable(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Wants reports whether a pod is to have CPUs for itself.
func (p *Static) Wants(pod *corev1.Pod) bool { return wantedByPod(pod) > 0 }

// Allocate gives a container its CPUs, if it is to have some for itself: those on the nodes of hint first.
func (p *Static) Allocate(pod *corev1.Pod, c *corev1.Container, hint affinity.Hint) error {
	n := wanted(pod, c)
	if n == 0 {
		return nil
	}
	cpus, ok := p.state.of(pod.UID, c.Name)
	if !ok {
		err := p.checkCores(n)
		if err != nil {
			return err
		}
		if cpus, err = p.pick(n, hint.Nodes, p.reuse[pod.UID]); err != nil {
			return err
		}
		if err := p.state.assign(pod.UID, c.Name, cpus); err != nil {
			return err
		}
	}
	p.remember(pod, c, cpus)
	return nil
}

// pick takes n CPUs, as many as possible from the given nodes.
func (p *Static) pick(n int, nodes affinity.Mask, reusable cpuset.CPUSet) (cpuset.CPUSet, error) {
	free := p.available().Union(reusable)
	got := cpuset.New()
	if nodes != 0 {
		near := p.near(nodes).Intersection(free)
		var err error
		if got, err = p.take(near, min(n, near.Size())); err != nil {
			return got, err
		}
	}
	rest, err := p.take(free.Difference(got), n-got.Size())
	return got.Union(rest), err
}

// near returns the CPUs of the nodes, or of their sockets.
func (p *Static) near(nodes affinity.Mask) cpuset.CPUSet {
	cpus := p.machine.In(topology.ByNode, nodes.Nodes()...)
	if p.options[alignBySocket] {
		cpus = p.machine.In(topology.BySocket, p.machine.Groups(topology.BySocket, cpus)...)
	}
	return cpus
}

// remember notes what later containers of the pod may use too: an init container has ended by then.
func (p *Static) remember(pod *corev1.Pod, c *corev1.Container, cpus cpuset.CPUSet) {
	for i := range pod.Spec.InitContainers {
		if init := &pod.Spec.InitContainers[i]; init.Name == c.Name && !restartable(init) {
			p.reuse[pod.UID] = p.reuse[pod.UID].Union(cpus)
			return
		}
	}
	p.reuse[pod.UID] = p.reuse[pod.UID].Difference(cpus)
}

// available are the CPUs that may be handed out and are not.
func (p *Static) available() cpuset.CPUSet { return p.state.shared.Difference(p.reserved) }

// A CoreError refuses a container that cannot have whole cores.
type CoreError struct{ message string }

func (e *CoreError) Error() string { return e.message }

// Reason is the reason of the pod's refusal.
func (e *CoreError) Reason() string { return "SMTAlignmentError" }

// checkCores refuses what does not make up whole cores, where only those are handed out.
func (p *Static) checkCores(n int) error {
	perCore := p.machine.CPUsPerCore()
	if !p.options[fullCores] {
		return nil
	}
	if n%perCore != 0 {
		return &CoreError{fmt.Sprintf("SMT Alignment Error: requested %d cpus not multiple cpus per core = %d", n, perCore)}
	}
	if free := p.state.shared.Difference(p.reservedCores).Size(); n > free {
		return &CoreError{fmt.Sprintf("SMT Alignment Error: not enough free physical CPUs: available physical CPUs = %d, requested CPUs = %d, CPUs per core = %d", free, n, perCore)}
	}
	return nil
}

// Settled tells that all containers of a pod have been allocated for.
func (p *Static) Settled(pod types.UID) { delete(p.reuse, pod) }

// Release takes back what a pod's containers have.
func (p *Static) Release(pod types.UID) error {
	delete(p.reuse, pod)
	return p.state.release(pod)
}

// Holders are the pods that have CPUs.
func (p *Static) Holders() []types.UID { return p.state.holders() }

// Of returns the CPUs that a container runs on, and whether it has them for itself.
func (p *Static) Of(pod types.UID, container string) (cpus cpuset.CPUSet, exclusive bool) {
	if cpus, ok := p.state.of(pod, container); ok {
		return cpus, true
	}
	return p.state.shared, false
}

// Given are the CPUs that containers have for themselves, and those that could be given to others.
func (p *Static) Given() (given, free cpuset.CPUSet) {
	for _, containers := range p.state.assigned {
		for _, cpus := range containers {
			given = given.Union(cpus)
		}
	}
	return given, p.available()
}

// WantsFor reports whether a container is to have CPUs for itself.
func (p *Static) WantsFor(pod *corev1.Pod, c *corev1.Container) bool { return wanted(pod, c) > 0 }

// Allocatable are the CPUs that may be handed out at all.
func (p *Static) Allocatable() cpuset.CPUSet { return p.machine.All().Difference(p.reserved) }
