// Package cluster is the scheduler's picture of the cluster: nodes with the sum of what runs on them, kept
// current by each change instead of being built anew for each pod. It decides nothing.
//
// A Cluster has one owner at a time (the scheduler's lock). API objects in it are the store's own and
// read-only.
package cluster

import (
	"maps"
	"math/bits"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// A Change is a set of things that happened, which may let pods fit that did not.
type Change uint32

// What may happen.
const (
	NodeAdded Change = 1 << iota
	NodeRemoved
	NodeAllocatable // more or other resources
	NodeLabels
	NodeTaints   // taints or spec.unschedulable
	NodeFeatures // what the node has declared that it can do
	PodAdded     // a pod was placed, or the labels of a placed one changed
	PodRemoved   // a placed pod ended, went away or shrank
	Claims       // persistent volume claims
	Volumes      // persistent volumes
	Classes      // storage classes
	Namespaces   // labels of namespaces
	Workloads    // services and controllers, for default spreading
	Everything   = 1<<iota - 1
)

// changeLabels are upstream's words for the single changes, in their order.
var changeLabels = [...]string{
	"NodeAdd", "NodeDelete", "NodeUpdateNodeAllocatable", "NodeUpdateNodeLabel", "NodeUpdateNodeTaint", "NodeUpdateNodeDeclaredFeature",
	"AssignedPodAdd", "AssignedPodDelete", "PersistentVolumeClaimUpdate", "PersistentVolumeUpdate", "StorageClassUpdate",
	"NamespaceUpdate", "ServiceUpdate",
}

// Label names the first of the changes in c as upstream's metrics do.
func (c Change) Label() string {
	if first := bits.TrailingZeros32(uint32(c)); first < len(changeLabels) {
		return changeLabels[first]
	}
	return ""
}

// Resources are amounts in the units in which they are compared.
type Resources struct {
	MilliCPU, Memory, EphemeralStorage int64
	Pods                               int64
	Scalar                             map[corev1.ResourceName]int64
}

func resourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Scalar == nil {
				r.Scalar = map[corev1.ResourceName]int64{}
			}
			r.Scalar[name] = q.Value()
		}
	}
	return r
}

func (r *Resources) add(o Resources, sign int64) {
	r.MilliCPU += sign * o.MilliCPU
	r.Memory += sign * o.Memory
	r.EphemeralStorage += sign * o.EphemeralStorage
	for name, v := range o.Scalar {
		if r.Scalar == nil {
			r.Scalar = map[corev1.ResourceName]int64{}
		}
		r.Scalar[name] += sign * v
	}
}

// equal compares what matters to fitting.
func (r Resources) equal(o Resources) bool {
	return r.MilliCPU == o.MilliCPU && r.Memory == o.Memory && r.EphemeralStorage == o.EphemeralStorage && r.Pods == o.Pods && maps.Equal(r.Scalar, o.Scalar)
}

// A Node is a node and what is on it.
type Node struct {
	*corev1.Node
	Allocatable Resources
	Requested   Resources // by its pods
	NonZero     Resources // the same, with a guess for containers that request nothing; CPU and memory only
	Pods        []*Pod
	Nominated   []*Pod           // pods that wait for room they made here by preemption
	Images      map[string]int64 // size by name
	Ports       map[HostPort]int // in use

	AffinityPods     int // number of Pods with any (anti-)affinity
	AntiAffinityPods int // number of Pods with required anti-affinity
}

// A Cluster is the picture. The zero value is not ready: use New.
type Cluster struct {
	nodes map[string]*Node
	list  []*Node // in order of arrival
	pods  map[types.UID]*placed
	// orphans are pods on nodes that are not there (yet), or no more.
	orphans   map[string]map[types.UID]*Pod
	nominated map[types.UID]string // node by pod

	imageNodes                     map[string]int // number of nodes that have an image
	affinityPods, antiAffinityPods int
}

type placed struct {
	pod  *Pod
	node string
}

// New returns an empty picture.
func New() *Cluster {
	return &Cluster{
		nodes: map[string]*Node{}, pods: map[types.UID]*placed{},
		orphans: map[string]map[types.UID]*Pod{}, nominated: map[types.UID]string{}, imageNodes: map[string]int{},
	}
}

// Pods returns how many pods are placed.
func (c *Cluster) Pods() int { return len(c.pods) }

// Nodes returns all nodes; the slice is the cluster's own.
func (c *Cluster) Nodes() []*Node { return c.list }

// Node returns a node by name, or nil.
func (c *Cluster) Node(name string) *Node { return c.nodes[name] }

// ImageNodes returns how many nodes have an image.
func (c *Cluster) ImageNodes(name string) int { return c.imageNodes[name] }

// HasAffinity reports whether any placed pod has (anti-)affinity, and any required anti-affinity.
func (c *Cluster) HasAffinity() (some, requiredAnti bool) {
	return c.affinityPods > 0, c.antiAffinityPods > 0
}

// SetNode adds or replaces a node and says what is new about it.
func (c *Cluster) SetNode(node *corev1.Node) Change {
	allocatable := resourcesOf(node.Status.Allocatable)
	n := c.nodes[node.Name]
	if n == nil {
		n = &Node{Node: node, Allocatable: allocatable, Ports: map[HostPort]int{}}
		c.nodes[node.Name] = n
		c.list = append(c.list, n)
		c.setImages(n)
		for _, p := range c.orphans[node.Name] {
			c.put(n, p)
		}
		delete(c.orphans, node.Name)
		return NodeAdded
	}
	var change Change
	if !n.Allocatable.equal(allocatable) {
		change |= NodeAllocatable
	}
	if !maps.Equal(n.Labels, node.Labels) {
		change |= NodeLabels
	}
	if n.Spec.Unschedulable != node.Spec.Unschedulable || !slices.EqualFunc(n.Spec.Taints, node.Spec.Taints, sameTaint) {
		change |= NodeTaints
	}
	if !slices.Equal(n.Status.DeclaredFeatures, node.Status.DeclaredFeatures) {
		change |= NodeFeatures
	}
	n.Node, n.Allocatable = node, allocatable
	c.setImages(n)
	return change
}

func sameTaint(a, b corev1.Taint) bool {
	return a.Key == b.Key && a.Value == b.Value && a.Effect == b.Effect
}

func (c *Cluster) setImages(n *Node) {
	images := map[string]int64{}
	for _, i := range n.Status.Images {
		for _, name := range i.Names {
			images[name] = i.SizeBytes
		}
	}
	if maps.Equal(images, n.Images) {
		return
	}
	for name := range n.Images {
		c.forgetImage(name)
	}
	for name := range images {
		c.imageNodes[name]++
	}
	n.Images = images
}

func (c *Cluster) forgetImage(name string) {
	if c.imageNodes[name]--; c.imageNodes[name] <= 0 {
		delete(c.imageNodes, name)
	}
}

// RemoveNode forgets a node. Its pods are kept aside until they go, or the node comes back.
func (c *Cluster) RemoveNode(name string) Change {
	n := c.nodes[name]
	if n == nil {
		return 0
	}
	for _, p := range slices.Clone(n.Pods) {
		c.take(n, p)
		c.orphan(name, p)
	}
	for image := range n.Images {
		c.forgetImage(image)
	}
	delete(c.nodes, name)
	c.list = slices.DeleteFunc(c.list, func(o *Node) bool { return o == n })
	return NodeRemoved
}

func (c *Cluster) orphan(node string, p *Pod) {
	if c.orphans[node] == nil {
		c.orphans[node] = map[types.UID]*Pod{}
	}
	c.orphans[node][p.UID] = p
}

// Place puts a pod on a node, or replaces what is known of it there: the pod as bound, or as it will be.
func (c *Cluster) Place(p *Pod, node string) Change {
	var change Change = PodAdded
	if old := c.pods[p.UID]; old != nil {
		same := old.node == node && maps.Equal(old.pod.Labels, p.Labels)
		shrunk := old.node != node || old.pod.Request.exceeds(p.Request)
		c.Remove(p.UID)
		change = 0
		if !same {
			change |= PodAdded
		}
		if shrunk {
			change |= PodRemoved
		}
	}
	c.pods[p.UID] = &placed{p, node}
	if n := c.nodes[node]; n != nil {
		c.put(n, p)
	} else {
		c.orphan(node, p)
	}
	return change
}

// exceeds: r is larger than o in some respect.
func (r Resources) exceeds(o Resources) bool {
	if r.MilliCPU > o.MilliCPU || r.Memory > o.Memory || r.EphemeralStorage > o.EphemeralStorage {
		return true
	}
	for name, v := range r.Scalar {
		if v > o.Scalar[name] {
			return true
		}
	}
	return false
}

// Remove takes a pod away from wherever it is.
func (c *Cluster) Remove(uid types.UID) Change {
	at := c.pods[uid]
	if at == nil {
		return 0
	}
	delete(c.pods, uid)
	if n := c.nodes[at.node]; n != nil {
		c.take(n, at.pod)
	}
	delete(c.orphans[at.node], uid)
	if len(c.orphans[at.node]) == 0 {
		delete(c.orphans, at.node)
	}
	return PodRemoved
}

// Placed returns a pod and the node that it is on.
func (c *Cluster) Placed(uid types.UID) (p *Pod, node string, ok bool) {
	if at := c.pods[uid]; at != nil {
		return at.pod, at.node, true
	}
	return nil, "", false
}

func (c *Cluster) put(n *Node, p *Pod) {
	n.add(p, 1)
	n.Pods = append(n.Pods, p)
	c.countAffinity(p, 1)
}

func (c *Cluster) take(n *Node, p *Pod) {
	i := slices.IndexFunc(n.Pods, func(o *Pod) bool { return o.UID == p.UID })
	if i < 0 {
		return
	}
	p = n.Pods[i]
	last := len(n.Pods) - 1
	n.Pods[i], n.Pods[last] = n.Pods[last], nil
	n.Pods = n.Pods[:last]
	n.add(p, -1)
	c.countAffinity(p, -1)
}

func (c *Cluster) countAffinity(p *Pod, sign int) {
	if p.hasAffinity() {
		c.affinityPods += sign
	}
	if len(p.Affinity.RequiredAnti) > 0 {
		c.antiAffinityPods += sign
	}
}

func (n *Node) add(p *Pod, sign int64) {
	n.Requested.add(p.Request, sign)
	n.NonZero.MilliCPU += sign * p.NonZero.MilliCPU
	n.NonZero.Memory += sign * p.NonZero.Memory
	if p.hasAffinity() {
		n.AffinityPods += int(sign)
	}
	if len(p.Affinity.RequiredAnti) > 0 {
		n.AntiAffinityPods += int(sign)
	}
	for _, port := range p.Ports {
		if n.Ports[port] += int(sign); n.Ports[port] <= 0 {
			delete(n.Ports, port)
		}
	}
}

// With returns a copy of n with more pods on it, leaving n alone.
func (n *Node) With(pods ...*Pod) *Node {
	next := *n
	next.Pods = slices.Clone(n.Pods)
	next.Requested.Scalar, next.Ports = maps.Clone(n.Requested.Scalar), maps.Clone(n.Ports)
	for _, p := range pods {
		next.add(p, 1)
		next.Pods = append(next.Pods, p)
	}
	return &next
}

// Nominate notes that p waits for room on a node; an empty name ends that.
func (c *Cluster) Nominate(p *Pod, node string) {
	if old, ok := c.nominated[p.UID]; ok {
		if n := c.nodes[old]; n != nil {
			n.Nominated = slices.DeleteFunc(n.Nominated, func(o *Pod) bool { return o.UID == p.UID })
		}
		delete(c.nominated, p.UID)
	}
	if n := c.nodes[node]; n != nil {
		c.nominated[p.UID] = node
		n.Nominated = append(n.Nominated, p)
	}
}

// NominatedNode returns the node that p waits for, or "".
func (c *Cluster) NominatedNode(p *Pod) string { return c.nominated[p.UID] }

// Domain returns the value of a topology key on a node.
func (n *Node) Domain(key string) (string, bool) {
	v, ok := n.Labels[key]
	return v, ok
}

// NamespaceLabels looks up the labels of a namespace.
type NamespaceLabels func(namespace string) map[string]string
