package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/controllers/endpointslice"
	"clipper/controllers/pods"
)

const (
	managedByLabel = "endpoints.kubernetes.io/managed-by"
	managedBy      = "endpoint-controller"

	maxAddresses = 1000 // beyond, the object is cut and says so
)

// A subset is the addresses that share their ports.
type subset struct {
	ports           []corev1.EndpointPort
	ready, notReady []corev1.EndpointAddress
}

// plan returns the Endpoints object that svc should have; nil if have is just that.
func plan(svc *corev1.Service, backing []*corev1.Pod, have *corev1.Endpoints) *corev1.Endpoints {
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: svc.Name, Namespace: svc.Namespace}}
	if have != nil {
		want = have.DeepCopy()
	}
	want.Subsets = subsets(svc, backing)
	want.Labels = maps.Clone(svc.Labels)
	if want.Labels == nil {
		want.Labels = map[string]string{}
	}
	want.Labels[managedByLabel] = managedBy
	delete(want.Labels, corev1.IsHeadlessService)
	if endpointslice.Headless(svc) {
		want.Labels[corev1.IsHeadlessService] = ""
	}
	if truncate(want.Subsets) {
		metav1.SetMetaDataAnnotation(&want.ObjectMeta, corev1.EndpointsOverCapacity, "truncated")
	} else {
		delete(want.Annotations, corev1.EndpointsOverCapacity)
	}
	if have != nil && apiequality.Semantic.DeepEqual(have, want) {
		return nil
	}
	return want
}

// subsets groups the pods' addresses by their ports, in a stable order.
func subsets(svc *corev1.Service, backing []*corev1.Pod) []corev1.EndpointSubset {
	family := discoveryv1.AddressTypeIPv4
	if len(svc.Spec.IPFamilies) > 0 {
		family = discoveryv1.AddressType(svc.Spec.IPFamilies[0])
	}
	byPorts := map[string]*subset{}
	for _, p := range backing {
		if !endpointslice.Backs(p, svc.Spec.PublishNotReadyAddresses) {
			continue
		}
		ips := endpointslice.Addresses(p, family)
		ports := portsOf(svc, p)
		if len(ips) == 0 || len(ports) == 0 && len(svc.Spec.Ports) > 0 {
			continue
		}
		key := portsKey(ports)
		s := byPorts[key]
		if s == nil {
			s = &subset{ports: ports}
			byPorts[key] = s
		}
		a := address(svc, p, ips[0])
		if svc.Spec.PublishNotReadyAddresses || pods.Ready(p) {
			s.ready = append(s.ready, a)
		} else {
			s.notReady = append(s.notReady, a)
		}
	}
	var out []corev1.EndpointSubset
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		s := byPorts[key]
		out = append(out, corev1.EndpointSubset{Addresses: sorted(s.ready), NotReadyAddresses: sorted(s.notReady), Ports: s.ports})
	}
	return out
}

func address(svc *corev1.Service, p *corev1.Pod, ip string) corev1.EndpointAddress {
	a := corev1.EndpointAddress{
		IP: ip, Hostname: endpointslice.Hostname(p, svc),
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
	}
	if name := p.Spec.NodeName; name != "" {
		a.NodeName = &name
	}
	return a
}

func portsOf(svc *corev1.Service, p *corev1.Pod) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, sp := range svc.Spec.Ports {
		if n, ok := endpointslice.TargetPort(p, sp); ok {
			out = append(out, corev1.EndpointPort{Name: sp.Name, Port: n, Protocol: sp.Protocol, AppProtocol: sp.AppProtocol})
		}
	}
	slices.SortFunc(out, func(a, b corev1.EndpointPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port))
	})
	return out
}

func portsKey(ports []corev1.EndpointPort) string {
	var parts []string
	for _, p := range ports {
		parts = append(parts, fmt.Sprintf("%s/%d/%s", p.Name, p.Port, p.Protocol))
	}
	return strings.Join(parts, ",")
}

func sorted(in []corev1.EndpointAddress) []corev1.EndpointAddress {
	slices.SortFunc(in, func(a, b corev1.EndpointAddress) int {
		return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
	})
	return in
}

// truncate cuts what exceeds maxAddresses, not-ready ones first.
func truncate(all []corev1.EndpointSubset) bool {
	ready, total := 0, 0
	for _, s := range all {
		ready += len(s.Addresses)
		total += len(s.Addresses) + len(s.NotReadyAddresses)
	}
	if total <= maxAddresses {
		return false
	}
	left := maxAddresses
	leftNotReady := max(0, maxAddresses-ready)
	for i := range all {
		n := min(left, len(all[i].Addresses))
		all[i].Addresses, left = all[i].Addresses[:n], left-n
		n = min(leftNotReady, len(all[i].NotReadyAddresses))
		all[i].NotReadyAddresses, leftNotReady = all[i].NotReadyAddresses[:n], leftNotReady-n
	}
	return true
}
