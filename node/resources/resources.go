// Package resources hands out what a node has few of to its pods: devices, CPUs of one's own, memory by NUMA node,
// resource claims. It puts the parts together, each of which knows one kind: package devices, dra, and below here cpu
// and memory, with package affinity to have them agree on NUMA nodes and package topology to know the machine.
//
// A pod gets all that its containers ask for before any of them starts, one pod after the other, or is refused. It
// gives everything back when its containers have ended. Who has what is in checkpoints below the kubelet's root
// directory, so that nothing changes hands when the agent is started anew.
package resources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubelet/config/v1beta1"
	"k8s.io/utils/cpuset"

	"clipper/node/devices"
	"clipper/node/kubeletconfig"
	"clipper/node/kubeletdir"
	"clipper/node/resources/affinity"
	"clipper/node/resources/checkpoint"
	"clipper/node/resources/cpu"
	"clipper/node/resources/memory"
	"clipper/node/resources/topology"
	"clipper/node/runtime"
)

// Claims prepares resource claims. Package dra is the way.
type Claims interface {
	Prepare(ctx context.Context, pod *corev1.Pod, running bool) error
	Unprepare(ctx context.Context, pod *corev1.Pod) error
	// Container adds the devices of a container's claims to its specification.
	Container(pod *corev1.Pod, c *corev1.Container, spec *runtime.Container) error
	Health(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus
}

// Config is what a Manager needs.
type Config struct {
	Dir      kubeletdir.Dir
	Settings *kubeletconfig.Configuration
	// Reserved is what the node keeps from pods, and CPUs which processors that means; empty: any.
	Reserved corev1.ResourceList
	CPUs     cpuset.CPUSet
	Memory   uint64 // bytes that the machine has
	Sys      fs.FS  // where the machine is described; default: /sys
	Devices  *devices.Manager
	Claims   Claims
	Runtime  Containers
}

// Containers are the node's containers.
type Containers interface {
	List(ctx context.Context) ([]runtime.SandboxStatus, []runtime.ContainerStatus, error)
	UpdateResources(ctx context.Context, id string, r runtime.Resources) error
}

// A Manager hands out resources. Its methods may be called concurrently.
type Manager struct {
	cfg     Config
	metrics metrics
	machine *topology.Machine // nil while nobody needs it
	policy  affinity.Policy
	turn    chan struct{} // holds a token while a pod is being served: one after the other
	changed chan struct{} // the shared CPUs are others

	mu     sync.Mutex
	cpus   *cpu.Static    // nil: all share all
	memory *memory.Static // nil: all share all
}

// Machine returns the layout of this machine.
func Machine(memory uint64) (*topology.Machine, error) {
	return topology.Read(os.DirFS("/sys"), memory)
}

// New returns a manager that goes on where the former one has stopped. It starts nothing.
func New(cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, metrics: newMetrics(), turn: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	s := cfg.Settings
	if err := errors.Join(unpinned(cfg.Dir, "cpu_manager_state", s.CPUManagerPolicy == staticCPUs), unpinned(cfg.Dir, "memory_manager_state", s.MemoryManagerPolicy == v1beta1.StaticMemoryManagerPolicy)); err != nil {
		return nil, err
	}
	if s.CPUManagerPolicy != staticCPUs && s.MemoryManagerPolicy != v1beta1.StaticMemoryManagerPolicy && s.TopologyManagerPolicy == affinity.None {
		return m, nil // the machine need not be looked at
	}
	if cfg.Sys == nil {
		cfg.Sys = os.DirFS("/sys")
	}
	machine, err := topology.Read(cfg.Sys, cfg.Memory)
	if err != nil {
		return nil, err
	}
	if m.policy, err = affinity.NewPolicy(s.TopologyManagerPolicy, s.TopologyManagerPolicyOptions, machine); err != nil {
		return nil, fmt.Errorf("topology manager: %w", err)
	}
	m.machine = machine
	return m, m.open(machine)
}

const staticCPUs = "static"

// open makes the policies that the settings ask for.
func (m *Manager) open(machine *topology.Machine) (err error) {
	s := m.cfg.Settings
	if s.CPUManagerPolicy == staticCPUs {
		reserved := m.cfg.Reserved[corev1.ResourceCPU]
		m.cpus, err = cpu.New(cpu.Settings{Machine: machine, Options: s.CPUManagerPolicyOptions, Features: s.FeatureGates, Affinity: m.policy,
			Reserved: reserved.MilliValue(), Specific: m.cfg.CPUs, File: m.cfg.Dir.Join("cpu_manager_state")})
		if err != nil {
			return err
		}
	}
	if s.MemoryManagerPolicy == v1beta1.StaticMemoryManagerPolicy {
		m.memory, err = memory.New(memory.Settings{Machine: machine, Reserved: m.cfg.Reserved, ByNode: s.ReservedMemory,
			File: m.cfg.Dir.Join("memory_manager_state")})
	}
	return err
}

// unpinned refuses to go on without a policy where its checkpoint says that pods were given something by it.
func unpinned(dir kubeletdir.Dir, name string, wanted bool) error {
	if wanted {
		return nil
	}
	var f struct {
		PolicyName string `json:"policyName"`
	}
	found, err := checkpoint.Read(dir.Join(name), &f)
	if err == nil && found && f.PolicyName != "" && f.PolicyName != "none" && f.PolicyName != "None" {
		err = fmt.Errorf("configured policy %q differs from state checkpoint policy %q; drain this node and delete the checkpoint file %s before starting it again", "none", f.PolicyName, dir.Join(name))
	}
	return err
}

// pinned reports whether some of a pod's containers have CPUs or memory for themselves.
func (m *Manager) pinned(pod *corev1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cpus != nil && m.cpus.Wants(pod) || m.memory != nil && m.memory.Wants(pod)
}

// Needs reports whether a pod asks for anything that is handed out.
func (m *Manager) Needs(pod *corev1.Pod) bool {
	return hasClaims(pod) || m.cfg.Devices.Wants(pod) || m.pinned(pod)
}

func hasClaims(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

// Sandbox lifts the limit of CPU time from a pod that has CPUs for itself: it would be throttled on them.
func (m *Manager) Sandbox(pod *corev1.Pod, r *runtime.Resources) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range pod.Spec.Containers {
		if m.cpus == nil {
			return
		}
		if _, exclusive := m.cpus.Of(pod.UID, pod.Spec.Containers[i].Name); exclusive {
			r.CPUQuota, r.CPUPeriod = 0, 0
		}
	}
}

// Container adds to a container's specification what the container has been given.
func (m *Manager) Container(ctx context.Context, pod *corev1.Pod, c *corev1.Container, spec *runtime.Container) error {
	if err := m.cfg.Devices.Apply(ctx, pod, c, spec); err != nil {
		return err
	}
	if hasClaims(pod) {
		if err := m.cfg.Claims.Container(pod, c, spec); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cpus != nil {
		cpus, exclusive := m.cpus.Of(pod.UID, c.Name)
		spec.Resources.CpusetCpus = cpus.String()
		if exclusive {
			spec.Resources.CPUQuota, spec.Resources.CPUPeriod = 0, 0
		}
	}
	if m.memory != nil {
		spec.Resources.CpusetMems = cpuset.New(m.memory.Nodes(pod.UID, c.Name).Nodes()...).String()
	}
	return nil
}

// Release takes back what a pod has.
func (m *Manager) Release(ctx context.Context, pod *corev1.Pod) error {
	var err error
	if hasClaims(pod) {
		err = m.cfg.Claims.Unprepare(ctx, pod)
	}
	return errors.Join(err, m.give(pod.UID))
}

// give takes back what a pod has but for claims.
func (m *Manager) give(pod types.UID) error {
	errs := []error{m.cfg.Devices.Release(pod)}
	m.mu.Lock()
	if m.cpus != nil {
		errs = append(errs, m.cpus.Release(pod))
	}
	if m.memory != nil {
		errs = append(errs, m.memory.Release(pod))
	}
	m.mu.Unlock()
	m.poke()
	return errors.Join(errs...)
}

// Sweep takes back what pods have that ended while no agent ran.
func (m *Manager) Sweep(known func(types.UID) bool) error {
	m.mu.Lock()
	holders := m.cfg.Devices.Holders()
	if m.cpus != nil {
		holders = append(holders, m.cpus.Holders()...)
	}
	if m.memory != nil {
		holders = append(holders, m.memory.Holders()...)
	}
	m.mu.Unlock()
	var errs []error
	for _, pod := range holders {
		if !known(pod) {
			errs = append(errs, m.give(pod))
		}
	}
	return errors.Join(errs...)
}

// Health tells how the devices of a container are.
func (m *Manager) Health(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus {
	return append(m.cfg.Devices.Health(pod.UID, c.Name), m.cfg.Claims.Health(pod, c)...)
}

// CPUsOf returns the CPUs that a container has for itself, and the memory that is reserved for it.
func (m *Manager) CPUsOf(pod types.UID, container string) (cpuset.CPUSet, []memory.Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var cpus cpuset.CPUSet
	if m.cpus != nil {
		if set, exclusive := m.cpus.Of(pod, container); exclusive {
			cpus = set
		}
	}
	if m.memory == nil {
		return cpus, nil
	}
	return cpus, slices.Clone(m.memory.Of(pod, container))
}

// Allocatable returns the CPUs and the memory that containers can have for themselves at all.
func (m *Manager) Allocatable() (cpuset.CPUSet, []memory.Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var cpus cpuset.CPUSet
	if m.cpus != nil {
		cpus = m.cpus.Allocatable()
	}
	if m.memory == nil {
		return cpus, nil
	}
	return cpus, m.memory.Allocatable()
}

// Resizable says why a pod's CPU or memory cannot be changed while it runs, "" if it can. The words are the kubelet's.
func (m *Manager) Resizable(pod *corev1.Pod) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.cpus != nil && m.cpus.Wants(pod):
		return `Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"`
	case m.memory != nil && m.memory.Wants(pod):
		return `Resize is infeasible for Guaranteed Pods alongside Memory Manager policy "Static"`
	}
	return ""
}

func (m *Manager) poke() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Run keeps containers on the CPUs that they are to have: those that share what is left see it change, and a
// container may be made just while it does.
func (m *Manager) Run(ctx context.Context) error {
	if m.cpus == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	applied := map[string]string{}
	tick := time.NewTicker(m.cfg.Settings.CPUManagerReconcilePeriod.Duration)
	defer tick.Stop()
	for {
		m.reconcile(ctx, applied)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.changed:
		case <-tick.C:
		}
	}
}
