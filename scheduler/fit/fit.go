// Package fit decides whether a pod can run on a node, and if not, why. It is pure: what it knows comes from
// package cluster and the lookups in World. The reasons are upstream's words, which users and their tools
// look for.
package fit

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"clipper/scheduler/cluster"
)

// World is what else of the cluster a decision needs. The zero value is an empty world.
type World struct {
	Storage    Storage // nil: no claims, volumes or classes
	Namespaces cluster.NamespaceLabels
	// Spread returns the selector of the services and controllers that a pod belongs to, for the default
	// spreading; nil for none.
	Spread func(*corev1.Pod) labels.Selector
}

func (w World) namespaceLabels(ns string) map[string]string {
	if w.Namespaces == nil {
		return nil
	}
	return w.Namespaces(ns)
}

// A Rejection says why a pod does not fit on a node. Those without variables are shared: never change one.
type Rejection struct {
	Plugin  string // upstream's name for what has rejected
	Reasons []string
	// Final: removing other pods from the node would not help.
	Final bool
	// Wake is what may make the pod fit.
	Wake cluster.Change
}

// resourcesPlugin rejects for want of resources.
const resourcesPlugin = "NodeResourcesFit"

// Rejections that name no particulars.
var (
	unschedulable   = &Rejection{"NodeUnschedulable", []string{"node(s) were unschedulable"}, true, cluster.NodeAdded | cluster.NodeTaints}
	otherNode       = &Rejection{"NodeName", []string{"node(s) didn't match the requested node name"}, true, cluster.NodeAdded}
	tainted         = &Rejection{"TaintToleration", []string{"node(s) had untolerated taint(s)"}, true, cluster.NodeAdded | cluster.NodeTaints}
	nodeAffinity    = &Rejection{"NodeAffinity", []string{"node(s) didn't match Pod's node affinity/selector"}, true, cluster.NodeAdded | cluster.NodeLabels}
	portTaken       = &Rejection{"NodePorts", []string{"node(s) didn't have free ports for the requested pod ports"}, false, cluster.NodeAdded | cluster.PodRemoved}
	podAffinity     = &Rejection{"InterPodAffinity", []string{"node(s) didn't match pod affinity rules"}, true, cluster.NodeAdded | cluster.NodeLabels | cluster.PodAdded | cluster.PodRemoved | cluster.Namespaces}
	podAntiAffinity = &Rejection{"InterPodAffinity", []string{"node(s) didn't match pod anti-affinity rules"}, false, podAffinity.Wake}
	existingAnti    = &Rejection{"InterPodAffinity", []string{"node(s) didn't satisfy existing pods anti-affinity rules"}, false, podAffinity.Wake}
	spreadSkew      = &Rejection{"PodTopologySpread", []string{"node(s) didn't match pod topology spread constraints"}, false, cluster.NodeAdded | cluster.NodeRemoved | cluster.NodeLabels | cluster.NodeTaints | cluster.PodAdded | cluster.PodRemoved}
	noFeature       = &Rejection{"NodeDeclaredFeatures", []string{"node(s) didn't match Pod's required features"}, true, cluster.NodeAdded | cluster.NodeFeatures}
	spreadLabel     = &Rejection{"PodTopologySpread", []string{"node(s) didn't match pod topology spread constraints (missing required label)"}, true, spreadSkew.Wake}
)

// A Request is a pod with everything worked out that does not depend on the node to check.
type Request struct {
	Pod   *cluster.Pod
	world World
	c     *cluster.Cluster

	nodeAffinity    nodeaffinity.RequiredNodeAffinity
	anyNode         bool // no selector or affinity for nodes
	tolerations     []corev1.Toleration
	toleratesCordon bool
	nodeNames       sets.Set[string] // the only nodes that can match, or nil
	affinity        affinityState
	spread          []spreadState
	volumes         *volumeState
	features        []string // that the node must have declared
}

// Prepare works out a pod's request against the cluster as it is. A Rejection means that no node will do.
func Prepare(p *cluster.Pod, c *cluster.Cluster, w World) (*Request, *Rejection) {
	r := &Request{Pod: p, world: w, c: c, tolerations: p.Spec.Tolerations}
	r.nodeAffinity = nodeaffinity.GetRequiredNodeAffinity(p.Pod)
	var required *corev1.NodeSelector
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		required = a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	r.anyNode = len(p.Spec.NodeSelector) == 0 && required == nil
	r.nodeNames = namesIn(required)
	r.toleratesCordon = tolerated(r.tolerations, &corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	var rejected *Rejection
	if r.volumes, rejected = prepareVolumes(p.Pod, w.Storage); rejected != nil {
		return nil, rejected
	}
	r.features = requiredFeatures(p.Pod)
	r.Refresh()
	return r, nil
}

// Refresh works out again what depends on other pods. Needed after pods in the cluster changed, if DependsOnPods.
func (r *Request) Refresh() {
	r.affinity = prepareAffinity(r.Pod, r.c, r.world.namespaceLabels)
	r.spread = r.prepareSpread()
}

// Cluster returns the picture that the request was prepared against.
func (r *Request) Cluster() *cluster.Cluster { return r.c }

// NamespaceLabels looks up the labels of a namespace.
func (r *Request) NamespaceLabels(ns string) map[string]string { return r.world.namespaceLabels(ns) }

// DefaultSelector returns the selector for default spreading, or nil.
func (r *Request) DefaultSelector() labels.Selector {
	if r.world.Spread == nil {
		return nil
	}
	return r.world.Spread(r.Pod.Pod)
}

// DependsOnPods reports whether pods on other nodes matter to this request.
func (r *Request) DependsOnPods() bool { return r.affinity.active || len(r.spread) > 0 }

// NodeNames returns the only nodes that can match, or nil if any may.
func (r *Request) NodeNames() []string {
	if r.nodeNames == nil {
		return nil
	}
	return sets.List(r.nodeNames)
}

// NotNamed is the rejection of nodes that NodeNames leaves out.
var NotNamed = &Rejection{"NodeAffinity", []string{"node(s) didn't satisfy plugin(s) [NodeAffinity]"}, true, cluster.NodeAdded}

// Check returns nil if the pod fits on n. With pods nominated to n of its priority or above, it must fit with
// and without them: they may come or not.
func (r *Request) Check(n *cluster.Node) *Rejection {
	if len(n.Nominated) > 0 {
		var waiting []*cluster.Pod
		for _, p := range n.Nominated {
			if p.UID != r.Pod.UID && p.Priority() >= r.Pod.Priority() {
				waiting = append(waiting, p)
			}
		}
		if len(waiting) > 0 {
			if rejected := r.check(n.With(waiting...)); rejected != nil {
				return rejected
			}
		}
	}
	return r.check(n)
}

// check asks in upstream's order, so that the first reason is the same one.
func (r *Request) check(n *cluster.Node) *Rejection {
	if n.Spec.Unschedulable && !r.toleratesCordon {
		return unschedulable
	}
	if r.Pod.Spec.NodeName != "" && r.Pod.Spec.NodeName != n.Name {
		return otherNode
	}
	if len(n.Spec.Taints) > 0 && r.repelled(n) {
		return tainted
	}
	if !r.anyNode {
		if ok, err := r.nodeAffinity.Match(n.Node); !ok || err != nil {
			return nodeAffinity
		}
	}
	if len(r.Pod.Ports) > 0 && conflicting(r.Pod.Ports, n.Ports) {
		return portTaken
	}
	if rejected := resources(&r.Pod.Request, n); rejected != nil {
		return rejected
	}
	if r.volumes != nil {
		if rejected := r.volumes.check(r.Pod.Pod, n); rejected != nil {
			return rejected
		}
	}
	for i := range r.spread {
		if rejected := r.spread[i].check(n); rejected != nil {
			return rejected
		}
	}
	if r.affinity.active {
		if rejected := r.affinity.check(r.Pod, n); rejected != nil {
			return rejected
		}
	}
	if !declares(n.Node, r.features) {
		return noFeature
	}
	return nil
}

func (r *Request) repelled(n *cluster.Node) bool {
	for i := range n.Spec.Taints {
		t := &n.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(r.tolerations, t) {
			return true
		}
	}
	return false
}

func tolerated(tolerations []corev1.Toleration, t *corev1.Taint) bool {
	for i := range tolerations {
		o := &tolerations[i]
		if o.Effect != "" && o.Effect != t.Effect || o.Key != "" && o.Key != t.Key {
			continue
		}
		switch o.Operator {
		case corev1.TolerationOpExists:
			return true
		case "", corev1.TolerationOpEqual:
			if o.Value == t.Value && (o.Key != "" || t.Key == "") {
				return true
			}
		}
	}
	return false
}

// namesIn returns the node names that a required affinity allows by metadata.name, or nil. Pods of daemon
// sets have such an affinity: looking at one node instead of all is what makes them cheap.
func namesIn(s *corev1.NodeSelector) sets.Set[string] {
	if s == nil || len(s.NodeSelectorTerms) == 0 {
		return nil
	}
	all := sets.New[string]()
	for _, t := range s.NodeSelectorTerms {
		var names sets.Set[string]
		for _, f := range t.MatchFields {
			if f.Key == "metadata.name" && f.Operator == corev1.NodeSelectorOpIn {
				if in := sets.New(f.Values...); names == nil {
					names = in
				} else {
					names = names.Intersection(in)
				}
			}
		}
		if names == nil {
			return nil // this term allows nodes of any name
		}
		all = all.Union(names)
	}
	return all
}

func conflicting(wanted []cluster.HostPort, used map[cluster.HostPort]int) bool {
	for _, w := range wanted {
		if w.IP != cluster.AnyIP {
			any := w
			any.IP = cluster.AnyIP
			if used[w] > 0 || used[any] > 0 {
				return true
			}
			continue
		}
		for u := range used {
			if u.Port == w.Port && u.Protocol == w.Protocol {
				return true
			}
		}
	}
	return false
}

// Shortfalls of the usual resources, as bits, so that their rejections need not be made anew each time.
const (
	shortPods = 1 << iota
	shortCPU
	shortMemory
	shortEphemeral
	shortFinal // the node is too small even when empty
)

var shortfalls = func() (all [shortFinal << 1]*Rejection) {
	for bits := range all {
		var reasons []string
		for bit, reason := range map[int]string{shortPods: "Too many pods", shortCPU: "Insufficient cpu", shortMemory: "Insufficient memory", shortEphemeral: "Insufficient ephemeral-storage"} {
			if bits&bit != 0 {
				reasons = append(reasons, reason)
			}
		}
		slices.Sort(reasons)
		all[bits] = &Rejection{resourcesPlugin, reasons, bits&shortFinal != 0, resourceWake}
	}
	return all
}()

const resourceWake = cluster.NodeAdded | cluster.NodeAllocatable | cluster.PodRemoved

func resources(want *cluster.Resources, n *cluster.Node) *Rejection {
	bits := 0
	if int64(len(n.Pods))+1 > n.Allocatable.Pods {
		bits |= shortPods
	}
	short := func(want, allocatable, used int64, bit int) {
		if want > 0 && want > allocatable-used {
			bits |= bit
			if want > allocatable {
				bits |= shortFinal
			}
		}
	}
	short(want.MilliCPU, n.Allocatable.MilliCPU, n.Requested.MilliCPU, shortCPU)
	short(want.Memory, n.Allocatable.Memory, n.Requested.Memory, shortMemory)
	short(want.EphemeralStorage, n.Allocatable.EphemeralStorage, n.Requested.EphemeralStorage, shortEphemeral)
	var more []string
	for name, v := range want.Scalar {
		if v > 0 && v > n.Allocatable.Scalar[name]-n.Requested.Scalar[name] {
			more = append(more, fmt.Sprintf("Insufficient %s", name))
			if v > n.Allocatable.Scalar[name] {
				bits |= shortFinal
			}
		}
	}
	if bits == 0 && more == nil {
		return nil
	}
	if more == nil {
		return shortfalls[bits]
	}
	slices.Sort(more)
	return &Rejection{resourcesPlugin, append(slices.Clone(shortfalls[bits].Reasons), more...), bits&shortFinal != 0, resourceWake}
}

// Avoids reports whether a taint speaks against a node without forbidding it.
func Avoids(pod *corev1.Pod, t *corev1.Taint) bool {
	if t.Effect != corev1.TaintEffectPreferNoSchedule {
		return false
	}
	return !tolerated(pod.Spec.Tolerations, t)
}
