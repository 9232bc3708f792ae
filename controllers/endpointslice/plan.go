package endpointslice

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/controllers/owner"
)

const (
	// ManagedBy marks the slices of this controller.
	ManagedBy = "endpointslice-controller.k8s.io"

	maxEndpoints = 100 // per slice, upstream's default
)

// A Plan is what brings the slices of a service up to date.
type Plan struct {
	Create, Update, Delete []*discoveryv1.EndpointSlice
}

// A group is the endpoints that share a family and ports: they fit in the same slices.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint // in the pods' order
}

// plan compares the slices there are with the pods behind svc. A slice with wanted ports is kept and
// changed as little as possible: every changed slice goes to every node.
func plan(svc *corev1.Service, backing []*corev1.Pod, node func(string) *corev1.Node, have []*discoveryv1.EndpointSlice) Plan {
	var p Plan
	if svc.DeletionTimestamp != nil {
		return p
	}
	groups := groupPods(svc, backing, node)
	used := map[*discoveryv1.EndpointSlice]bool{}
	for _, key := range slices.Sorted(maps.Keys(groups)) {
		g := groups[key]
		var same []*discoveryv1.EndpointSlice
		for _, s := range have {
			if s.DeletionTimestamp == nil && groupKey(s.AddressType, s.Ports) == key {
				same = append(same, s)
				used[s] = true
			}
		}
		p.fill(svc, g, same)
	}
	for _, s := range have {
		if !used[s] {
			p.Delete = append(p.Delete, s)
		}
	}
	return p
}

// groupPods describes every pod once per family. A family without any pod gets an empty group, so that
// each service has a slice.
func groupPods(svc *corev1.Service, backing []*corev1.Pod, node func(string) *corev1.Node) map[string]*group {
	groups := map[string]*group{}
	for _, family := range families(svc) {
		found := false
		for _, p := range backing {
			if !Backs(p, true) || len(Addresses(p, family)) == 0 {
				continue
			}
			pp := ports(svc, p)
			key := groupKey(family, pp)
			if groups[key] == nil {
				groups[key] = &group{family: family, ports: pp}
			}
			groups[key].endpoints = append(groups[key].endpoints, endpoint(svc, p, node(p.Spec.NodeName), family))
			found = true
		}
		if !found {
			groups[groupKey(family, nil)] = &group{family: family, ports: []discoveryv1.EndpointPort{}}
		}
	}
	return groups
}

func families(svc *corev1.Service) []discoveryv1.AddressType {
	var out []discoveryv1.AddressType
	for _, f := range svc.Spec.IPFamilies {
		out = append(out, discoveryv1.AddressType(f))
	}
	if len(out) == 0 {
		out = append(out, discoveryv1.AddressTypeIPv4)
	}
	return out
}

func groupKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	var parts []string
	for _, p := range ports {
		parts = append(parts, fmt.Sprintf("%s/%d/%s/%s", deref(p.Name), deref(p.Port), deref(p.Protocol), deref(p.AppProtocol)))
	}
	slices.Sort(parts)
	return string(family) + " " + strings.Join(parts, ",")
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// fill distributes a group's endpoints: those that are in a slice stay in it, new ones go where there is
// room, full slices first; the rest makes new slices. Slices left empty go, but for the last.
func (p *Plan) fill(svc *corev1.Service, g *group, have []*discoveryv1.EndpointSlice) {
	wanted := map[string]*discoveryv1.Endpoint{}
	for i := range g.endpoints {
		wanted[endpointKey(&g.endpoints[i])] = &g.endpoints[i]
	}
	next := make([][]discoveryv1.Endpoint, len(have))
	for i, s := range have {
		for j := range s.Endpoints {
			if e := wanted[endpointKey(&s.Endpoints[j])]; e != nil {
				next[i] = append(next[i], *e)
				delete(wanted, endpointKey(e))
			}
		}
	}
	var rest []discoveryv1.Endpoint
	for i := range g.endpoints {
		if wanted[endpointKey(&g.endpoints[i])] != nil {
			rest = append(rest, g.endpoints[i])
		}
	}
	for i := range next {
		n := min(len(rest), maxEndpoints-len(next[i]))
		next[i], rest = append(next[i], rest[:n]...), rest[n:]
	}
	kept := 0
	for i, s := range have {
		if len(next[i]) == 0 && (kept > 0 || i < len(have)-1 || len(rest) > 0) {
			p.Delete = append(p.Delete, s)
			continue
		}
		kept++
		if u := with(svc, s, g.ports, next[i]); u != nil {
			p.Update = append(p.Update, u)
		}
	}
	for len(rest) > 0 || kept == 0 {
		n := min(len(rest), maxEndpoints)
		p.Create = append(p.Create, newSlice(svc, g, rest[:n:n]))
		rest = rest[n:]
		kept++
	}
}

// endpointKey identifies an endpoint over time: by the pod it stands for.
func endpointKey(e *discoveryv1.Endpoint) string {
	if e.TargetRef != nil {
		return string(e.TargetRef.UID) + " " + e.TargetRef.Name
	}
	return strings.Join(e.Addresses, ",")
}

// with returns s with new contents, or nil if nothing changes.
func with(svc *corev1.Service, s *discoveryv1.EndpointSlice, ports []discoveryv1.EndpointPort, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	labels := labelsOf(svc)
	if len(endpoints) == 0 {
		endpoints = nil
	}
	if maps.Equal(s.Labels, labels) && apiequality.Semantic.DeepEqual(s.Endpoints, endpoints) && apiequality.Semantic.DeepEqual(s.Ports, ports) {
		return nil
	}
	u := s.DeepCopy()
	u.Labels, u.Ports, u.Endpoints = labels, ports, endpoints
	return u
}

func newSlice(svc *corev1.Service, g *group, endpoints []discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	if endpoints == nil {
		endpoints = []discoveryv1.Endpoint{}
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: svc.Name + "-", Namespace: svc.Namespace, Labels: labelsOf(svc),
			OwnerReferences: []metav1.OwnerReference{*owner.Ref(svc, api.Services.Resource)},
		},
		AddressType: g.family, Ports: g.ports, Endpoints: endpoints,
	}
}

// labelsOf are the service's own labels and those by which a slice is found.
func labelsOf(svc *corev1.Service) map[string]string {
	out := maps.Clone(svc.Labels)
	if out == nil {
		out = map[string]string{}
	}
	delete(out, corev1.IsHeadlessService)
	out[discoveryv1.LabelServiceName] = svc.Name
	out[discoveryv1.LabelManagedBy] = ManagedBy
	if Headless(svc) {
		out[corev1.IsHeadlessService] = ""
	}
	return out
}

// Headless says whether svc has no address of its own.
func Headless(svc *corev1.Service) bool {
	return svc.Spec.ClusterIP == corev1.ClusterIPNone || svc.Spec.ClusterIP == ""
}
