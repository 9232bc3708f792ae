// Package devices hands out the devices that device plug-ins offer, as the kubelet's device manager does. A plug-in
// says by a stream which devices of its resource there are and which are healthy; a container that asks for some
// gets them picked here, and the plug-in says what that takes: variables, mounts, device nodes, CDI names.
//
// Who has which device is in a checkpoint before the plug-in hears of it, together with what the plug-in answered, so
// that neither a restart of the agent nor one of the plug-in changes what containers have.
package devices

import (
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	plugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"clipper/api/containers"
	"clipper/node/kubeletdir"
)

// stopGrace is how long a resource whose plug-in is gone stays known: a plug-in that is updated comes back.
// Upstream's figure.
const stopGrace = 5 * time.Minute

// withoutNode stands for the NUMA node of a device that has none.
const withoutNode = -1

// Config is what a Manager needs.
type Config struct {
	Dir kubeletdir.Dir
	// Changed is called when the node has more or fewer devices than before, and Sick with pods of which one has
	// become healthy or unhealthy. Neither may call back. Optional.
	Changed func()
	Sick    func(pods []types.UID)
	// Nodes returns the machine's NUMA nodes.
	Nodes func() []int
}

// A Manager looks after the devices of a node. Its methods may be called concurrently, but for Allocate: one at a time.
type Manager struct {
	cfg  Config
	wake chan struct{} // a resource's days may be counted

	started time.Time
	metrics metrics
	fresh   bool // there was no checkpoint

	mu        sync.Mutex
	news      chan struct{} // closed, and replaced, when a plug-in has told of its devices
	resources map[string]*kind
	granted   map[types.UID]map[string]map[string]*grant // by pod, container and resource
	reuse     map[types.UID]map[string]sets.Set[string]  // of init containers that will have ended, by resource
}

// A kind is the devices of one resource.
type kind struct {
	endpoint *endpoint // nil: no plug-in has registered since the agent started
	stopped  time.Time // when its plug-in went; zero: it is there
	devices  map[string]device
}

// A device is what its plug-in says of it.
type device struct {
	healthy bool
	nodes   []int // NUMA nodes it is near to
}

func (d device) equal(other device) bool {
	return d.healthy == other.healthy && slices.Equal(d.nodes, other.nodes)
}

// A grant is what a container has of one resource.
type grant struct {
	ids      map[int64][]string                // by NUMA node
	response *plugin.ContainerAllocateResponse // nil: the plug-in has been asked
}

func (g *grant) all() sets.Set[string] {
	out := sets.New[string]()
	for _, ids := range g.ids {
		out.Insert(ids...)
	}
	return out
}

// New returns a manager with what the checkpoint says. It starts nothing.
func New(cfg Config) (*Manager, error) {
	if cfg.Changed == nil {
		cfg.Changed = func() {}
	}
	if cfg.Sick == nil {
		cfg.Sick = func([]types.UID) {}
	}
	m := &Manager{cfg: cfg, wake: make(chan struct{}, 1), started: time.Now(), metrics: newMetrics(), news: make(chan struct{}), resources: map[string]*kind{},
		granted: map[types.UID]map[string]map[string]*grant{}, reuse: map[types.UID]map[string]sets.Set[string]{}}
	return m, m.load()
}

// Fresh reports whether no agent has handed out devices on this node before.
func (m *Manager) Fresh() bool { return m.fresh }

// healthy returns the devices that can be handed out if nobody has them.
func (r *kind) healthy() sets.Set[string] {
	out := sets.New[string]()
	if r == nil || !r.stopped.IsZero() {
		return out
	}
	for id, d := range r.devices {
		if d.healthy {
			out.Insert(id)
		}
	}
	return out
}

// aligned reports whether it matters from which NUMA node a device comes.
func (r *kind) aligned() bool {
	if r == nil {
		return false
	}
	for _, d := range r.devices {
		if len(d.nodes) > 0 {
			return true
		}
	}
	return false
}

// inUse returns the devices of a resource that containers have.
func (m *Manager) inUse(name string) sets.Set[string] {
	out := sets.New[string]()
	for _, containers := range m.granted {
		for _, grants := range containers {
			if g := grants[name]; g != nil {
				out = out.Union(g.all())
			}
		}
	}
	return out
}

// managed reports whether a resource is one of device plug-ins: registered, or still held by somebody.
func (m *Manager) managed(name string) bool {
	return m.resources[name] != nil || len(m.inUse(name)) > 0
}

// Wants reports whether a pod asks for devices.
func (m *Manager) Wants(pod *corev1.Pod) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.resources) == 0 && len(m.granted) == 0 {
		return false
	}
	for c := range containers.Of(&pod.Spec) {
		if len(m.wanted(c)) > 0 {
			return true
		}
	}
	return false
}

// wanted lists the managed resources that a container asks for, in the order of their names.
func (m *Manager) wanted(c *corev1.Container) []string {
	var out []string
	for name := range c.Resources.Limits {
		if m.managed(string(name)) {
			out = append(out, string(name))
		}
	}
	slices.Sort(out)
	return out
}

// Count is how many devices of a resource there are, and how many of them are healthy.
type Count struct{ All, Healthy int64 }

// Counts returns the devices that the node has, none of those that have been gone for long.
func (m *Manager) Counts() map[corev1.ResourceName]Count {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[corev1.ResourceName]Count, len(m.resources))
	for name, r := range m.resources {
		c := Count{All: int64(len(r.devices)), Healthy: int64(len(r.healthy()))}
		if r.expired() {
			c = Count{}
		}
		out[corev1.ResourceName(name)] = c
	}
	return out
}

func (r *kind) expired() bool {
	return !r.stopped.IsZero() && time.Since(r.stopped) >= stopGrace
}

// Settled tells that all containers of a pod have been allocated for.
func (m *Manager) Settled(pod types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.reuse, pod)
}

// Release takes back what a pod's containers have.
func (m *Manager) Release(pod types.UID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.reuse, pod)
	if m.granted[pod] == nil {
		return nil
	}
	delete(m.granted, pod)
	return m.save()
}

// Holders are the pods that have devices.
func (m *Manager) Holders() []types.UID {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Collect(maps.Keys(m.granted))
}

// A Holding is devices of one resource that lie on the same NUMA node.
type Holding struct {
	Resource string
	Node     int64 // withoutNode if they have none
	IDs      []string
}

// HasNode reports whether the devices have a NUMA node.
func (h Holding) HasNode() bool { return h.Node != withoutNode }

// Of returns what a container has.
func (m *Manager) Of(pod types.UID, container string) []Holding {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Holding
	grants := m.granted[pod][container]
	for _, name := range slices.Sorted(maps.Keys(grants)) {
		for _, node := range slices.Sorted(maps.Keys(grants[name].ids)) {
			out = append(out, Holding{name, node, slices.Clone(grants[name].ids[node])})
		}
	}
	return out
}

// Allocatable returns every healthy device, each once for each of its NUMA nodes.
func (m *Manager) Allocatable() []Holding {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Holding
	for _, name := range slices.Sorted(maps.Keys(m.resources)) {
		byNode := m.byNode(name, sets.List(m.resources[name].healthy()))
		for _, node := range slices.Sorted(maps.Keys(byNode)) {
			out = append(out, Holding{name, node, byNode[node]})
		}
	}
	return out
}

// byNode sorts devices by their NUMA nodes.
func (m *Manager) byNode(name string, ids []string) map[int64][]string {
	out := map[int64][]string{}
	for _, id := range ids {
		nodes := m.resources[name].devices[id].nodes
		for _, n := range nodes {
			out[int64(n)] = append(out[int64(n)], id)
		}
		if len(nodes) == 0 {
			out[withoutNode] = append(out[withoutNode], id)
		}
	}
	return out
}

// Health tells how the devices of a container are.
func (m *Manager) Health(pod types.UID, container string) []corev1.ResourceStatus {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []corev1.ResourceStatus
	grants := m.granted[pod][container]
	for _, name := range slices.Sorted(maps.Keys(grants)) {
		s := corev1.ResourceStatus{Name: corev1.ResourceName(name)}
		for _, id := range sets.List(grants[name].all()) {
			h := corev1.ResourceHealth{ResourceID: corev1.ResourceID(id), Health: corev1.ResourceHealthStatusHealthy}
			if r := m.resources[name]; r != nil {
				if d, ok := r.devices[id]; ok && !d.healthy {
					h.Health = corev1.ResourceHealthStatusUnhealthy
				}
			}
			s.Resources = append(s.Resources, h)
		}
		out = append(out, s)
	}
	return out
}
