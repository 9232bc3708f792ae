package webhook

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"strconv"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"

	"clipper/api"
)

// newClients returns the HTTP clients of webhooks. Services are reached at their pods.
func newClients(c api.Client) (*webhookutil.ClientManager, error) {
	cm, err := webhookutil.NewClientManager([]schema.GroupVersion{admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion},
		admissionv1.AddToScheme, admissionv1beta1.AddToScheme)
	if err != nil {
		return nil, fmt.Errorf("webhooks: prepare clients: %w", err)
	}
	auth, err := webhookutil.NewDefaultAuthenticationInfoResolver("")
	if err != nil {
		return nil, fmt.Errorf("webhooks: prepare clients: %w", err)
	}
	cm.SetAuthenticationInfoResolver(auth)
	cm.SetServiceResolver(endpoints{api.Services.View(c), api.EndpointSlices.View(c)})
	return &cm, nil
}

// endpoints finds a pod behind a service.
type endpoints struct {
	services api.TypedView[*corev1.Service]
	slices   api.TypedView[*discoveryv1.EndpointSlice]
}

// ResolveEndpoint returns the URL of a ready endpoint of a service's port.
func (e endpoints) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	svc, ok := e.services.Get(namespace, name)
	if !ok {
		return nil, apierrors.NewNotFound(api.Services.GroupResource(), name)
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	if i < 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	var ready []string
	for _, s := range e.slices.ByIndex(api.ByService, namespace+"/"+name) {
		ready = append(ready, addresses(s, svc.Spec.Ports[i].Name)...)
	}
	if len(ready) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return &url.URL{Scheme: "https", Host: ready[rand.IntN(len(ready))]}, nil
}

func addresses(s *discoveryv1.EndpointSlice, portName string) (out []string) {
	for _, p := range s.Ports {
		if p.Port == nil || p.Name != nil && *p.Name != portName || p.Name == nil && portName != "" {
			continue
		}
		for _, ep := range s.Endpoints {
			if (ep.Conditions.Ready == nil || *ep.Conditions.Ready) && len(ep.Addresses) > 0 {
				out = append(out, net.JoinHostPort(ep.Addresses[0], strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return out
}
