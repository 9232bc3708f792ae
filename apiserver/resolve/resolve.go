// Package resolve finds the address behind a service's port, for requests that the API server itself makes:
// to webhooks and to extension API servers. It picks a ready endpoint rather than the service's address, so
// that the server needs no service proxy on its machine.
package resolve

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"clipper/api"
)

// A Resolver answers from the cluster's services and endpoint slices.
type Resolver struct {
	services api.TypedView[*corev1.Service]
	slices   api.TypedView[*discoveryv1.EndpointSlice]
	self     *Loopback
}

// New returns a resolver that reads through c. self is where the API server's own service leads to.
func New(c api.Client, self *Loopback) Resolver {
	return Resolver{api.Services.View(c), api.EndpointSlices.View(c), self}
}

// ResolveEndpoint returns the URL of a ready endpoint of a service's port.
func (r Resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	if to, ok := r.self.resolves(namespace, name, port); ok {
		return to, nil
	}
	svc, ok := r.services.Get(namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "service"}, name) // in the singular, as upstream's lister says it
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		return secure(svc.Spec.ExternalName, port), nil
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if i < 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	ready := r.ready(svc, svc.Spec.Ports[i].Name)
	if len(ready) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return ready[rand.IntN(len(ready))], nil
}

// ready lists the ready endpoints of a port: those of the service's first address family if there are any.
func (r Resolver) ready(svc *corev1.Service, port string) []*url.URL {
	var first, rest []*url.URL
	for _, s := range r.slices.ByIndex(api.ByService, svc.Namespace+"/"+svc.Name) {
		if len(svc.Spec.IPFamilies) == 0 || string(svc.Spec.IPFamilies[0]) == string(s.AddressType) {
			first = append(first, readyIn(s, port)...)
		} else {
			rest = append(rest, readyIn(s, port)...)
		}
	}
	if len(first) > 0 {
		return first
	}
	return rest
}

// readyIn lists the ready endpoints of one slice that have a port of that name.
func readyIn(s *discoveryv1.EndpointSlice, port string) []*url.URL {
	var out []*url.URL
	for _, p := range s.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
			continue
		}
		for _, e := range s.Endpoints {
			if (e.Conditions.Ready == nil || *e.Conditions.Ready) && len(e.Addresses) > 0 {
				out = append(out, secure(e.Addresses[0], *p.Port))
			}
		}
	}
	return out
}

func secure(host string, port int32) *url.URL {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}
