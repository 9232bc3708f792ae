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

// endpoints are the ready addresses of a service's port. Only pods are spoken to: whoever may write an endpoint slice could
// else have the server call any address that it reaches.
func (q *request) endpoints(svc *corev1.Service, port string) (hosts []string) {
	sliceKind, podKind := q.s.pipeline.Table().Resource(api.EndpointSlices.Resource), q.s.pipeline.Table().Resource(api.Pods.Resource)
	if sliceKind == nil || podKind == nil {
		return nil
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
			hosts = append(hosts, readyHosts(slice, port, isPod)...)
		}
		return true
	})
	return hosts
}

// hasEndpoints says whether the service has an object of the older kind, which upstream's proxy goes by: it comes with every
// selector, and from people.
func (q *request) hasEndpoints(svc *corev1.Service) bool {
	kind := q.s.pipeline.Table().Resource(api.Endpoints.Resource)
	if kind == nil {
		return false
	}
	_, ok := q.s.pipeline.Snapshot(&pipeline.Request{Resource: kind}).Get(store.Key{Resource: kind.Prefix, Namespace: svc.Namespace, Name: svc.Name})
	return ok
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
