// Package reserve works out what a node keeps from its pods: for the system, for Kubernetes' own processes,
// and for what eviction keeps free. It is arithmetic alone; package cgroup enforces it.
package reserve

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/cpuset"

	"clipper/node/eviction/threshold"
	"clipper/node/kubeletconfig"
)

// PIDs is the resource name under which process IDs are reserved. Nodes do not report it.
const PIDs corev1.ResourceName = "pid"

// A Reservation is what a node keeps from pods.
type Reservation struct {
	System, Kube corev1.ResourceList
	// CPUs are the processors that System's CPU consists of, if they were named.
	CPUs cpuset.CPUSet
	hard []threshold.Threshold
}

// Parse reads the reservation out of a node's settings. online are the machine's processors. The words of
// its errors are upstream's.
func Parse(c *kubeletconfig.Configuration, online cpuset.CPUSet) (Reservation, error) {
	var r Reservation
	cpus, err := reservedCPUs(c.ReservedSystemCPUs, online)
	if err != nil {
		return r, err
	}
	system, kube := maps.Clone(c.SystemReserved), maps.Clone(c.KubeReserved)
	if !cpus.IsEmpty() { // those named are all that is reserved
		delete(kube, string(corev1.ResourceCPU))
		if system == nil {
			system = map[string]string{}
		}
		system[string(corev1.ResourceCPU)] = strconv.Itoa(cpus.Size())
	}
	r.CPUs = cpus
	if r.Kube, err = parseList(kube); err != nil {
		return r, fmt.Errorf("--kube-reserved value failed to parse: %w", err)
	}
	if r.System, err = parseList(system); err != nil {
		return r, fmt.Errorf("--system-reserved value failed to parse: %w", err)
	}
	r.hard, err = threshold.Parse(threshold.Settings{Hard: c.EvictionHard})
	return r, err
}

func reservedCPUs(text string, online cpuset.CPUSet) (cpuset.CPUSet, error) {
	cpus, err := cpuset.Parse(text)
	switch {
	case err != nil:
		return cpus, fmt.Errorf("unable to parse reserved-cpus list: %w", err)
	case !cpus.IsSubsetOf(online):
		return cpus, fmt.Errorf("reserved-cpus: %s is not a subset of online-cpus: %s", text, online.String())
	}
	return cpus, nil
}

func parseList(in map[string]string) (corev1.ResourceList, error) {
	out := corev1.ResourceList{}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		switch corev1.ResourceName(name) {
		case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, PIDs:
		default:
			return nil, fmt.Errorf("cannot reserve %q resource", name)
		}
		q, err := resource.ParseQuantity(in[name])
		if err != nil {
			return nil, fmt.Errorf("failed to parse quantity %q for %q resource: %w", in[name], name, err)
		}
		if q.Sign() < 0 {
			return nil, fmt.Errorf("resource quantity for %q cannot be negative: %v", name, in[name])
		}
		out[corev1.ResourceName(name)] = q
	}
	return out, nil
}

// Total returns all that is kept from pods on a node of the given capacity: a part of what it reports.
func (r Reservation) Total(capacity corev1.ResourceList) corev1.ResourceList {
	out, kept := corev1.ResourceList{}, r.keptFree(capacity)
	for name := range capacity {
		sum := resource.Quantity{}
		for _, l := range []corev1.ResourceList{r.System, r.Kube, kept} {
			sum.Add(l[name])
		}
		if !sum.IsZero() {
			out[name] = sum
		}
	}
	return out
}

// keptFree is what pods can have only until they are evicted for it.
func (r Reservation) keptFree(capacity corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, t := range r.hard {
		switch t.Signal {
		case threshold.MemoryAvailable, threshold.NodeFSAvailable:
			name := t.Signal.Resource()
			out[name] = t.Value.Of(capacity[name])
		}
	}
	return out
}

// Enforceable returns what the kernel lets all pods together have: more than they are promised by what
// eviction keeps free, so that the node sees them go beyond and can choose who goes.
func (r Reservation) Enforceable(capacity corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range capacity {
		out[name] = less(q, r.System[name], r.Kube[name])
	}
	return out
}

// Allocatable returns what is left of capacity after reserved. Huge pages, which pods have to ask for, are
// no longer there as memory.
func Allocatable(capacity, reserved corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range capacity {
		out[name] = less(q, reserved[name])
	}
	if memory, ok := out[corev1.ResourceMemory]; ok {
		for name, q := range capacity {
			if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
				memory = less(memory, q)
			}
		}
		out[corev1.ResourceMemory] = memory
	}
	return out
}

// less subtracts, but never below nothing.
func less(q resource.Quantity, by ...resource.Quantity) resource.Quantity {
	q = q.DeepCopy()
	for _, b := range by {
		q.Sub(b)
	}
	if q.Sign() < 0 {
		q.Set(0)
	}
	return q
}

// Check reports what is reserved beyond capacity, in upstream's words.
func (r Reservation) Check(capacity corev1.ResourceList) error {
	var faults []string
	total := r.Total(capacity)
	for _, name := range slices.Sorted(maps.Keys(total)) {
		have, want := capacity[name], total[name]
		if have.Cmp(want) < 0 {
			faults = append(faults, fmt.Sprintf("Resource %q has a reservation of %v but capacity of %v. Expected capacity >= reservation.", name, &want, &have))
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("invalid Node Allocatable configuration. %s", strings.Join(faults, " "))
	}
	return nil
}
