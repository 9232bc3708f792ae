package apiserver

import (
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"clipper/api"
	"clipper/apiserver/pipeline"
	"clipper/store"
)

// endpoints are the ready addresses of a service's port; sliced says whether there is an endpoint slice of it at all. Only pods
// are spoken to: whoever may write an endpoint slice could else have the server call any address that it reaches.
func (q *request) endpoints(svc *corev1.Service, port string) (hosts []string, sliced bool) {
	sliceKind, podKind := q.s.pipeline.Table().Resource(api.EndpointSlices.Resource), q.s.pipeline.Table().Resource(api.Pods.Resource)
	if sliceKind == nil || podKind == nil {
		return nil, false
	}
	running := q.s.pipeline.Snapshot(&pipeline.Request{Resource: podKind})
	isPod := func(target *corev1.ObjectReference, address string) bool {
		if target == nil || target.Namespace != svc.Namespace {
			return false
		}
		item, ok := running.Get(store.Key{Resource: podKind.Prefix, Namespace: svc.Namespace, Name: target.Name})
		return ok && hasAddress(item.Object.(*corev1.Pod), address)
	}
	snap := q.s.pipeline.Snapshot(&pipeline.Request{Resource: sliceKind})
	snap.Ascend(svc.Namespace, store.Key{}, func(item *store.Item) bool {
		slice := item.Object.(*discoveryv1.EndpointSlice)
		if slice.Labels[discoveryv1.LabelServiceName] == svc.Name {
			sliced = true
			hosts = append(hosts, readyHosts(slice, port, isPod)...)
		}
		return true
	})
	return hosts, sliced
}

func hasAddress(pod *corev1.Pod, address string) bool {
	return slices.ContainsFunc(pod.Status.PodIPs, func(ip corev1.PodIP) bool { return ip.IP == address })
}

func readyHosts(slice *discoveryv1.EndpointSlice, port string, isPod func(target *corev1.ObjectReference, address string) bool) []string {
	var out []string
	for _, p := range slice.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
			continue
		}
		for _, e := range slice.Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				for _, a := range e.Addresses {
					if isPod(e.TargetRef, a) {
						out = append(out, net.JoinHostPort(a, strconv.Itoa(int(*p.Port))))
					}
				}
			}
		}
	}
	return out
}
