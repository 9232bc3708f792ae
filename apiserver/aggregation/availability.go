package aggregation

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// probes is how many requests ask at once whether a server answers; one that does is enough. Upstream's figure.
const probes = 5

// A verdict is whether an APIService can be served, and why.
type verdict struct {
	status          apiregistrationv1.ConditionStatus
	reason, message string
}

func no(reason, format string, args ...any) verdict {
	return verdict{apiregistrationv1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

var (
	local  = verdict{apiregistrationv1.ConditionTrue, "Local", "Local APIServices are always available"}
	passed = verdict{apiregistrationv1.ConditionTrue, "Passed", "all checks passed"}
)

// prerequisites says what of the cluster's objects keeps spec from being served; ok if nothing does, so that
// the server itself may be asked. svc is nil if there is no such service.
func prerequisites(spec *apiregistrationv1.APIServiceSpec, svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) (_ verdict, ok bool) {
	name, namespace, port := spec.Service.Name, spec.Service.Namespace, servicePort(spec)
	if svc == nil {
		return no("ServiceNotFound", "service/%s in %q is not present", name, namespace), false
	}
	if svc.Spec.Type != corev1.ServiceTypeClusterIP {
		return verdict{}, true
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool { return p.Port == port })
	switch {
	case i < 0:
		return no("ServicePortError", "service/%s in %q is not listening on port %d", name, namespace, port), false
	case len(endpoints) == 0:
		return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", name, namespace), false
	case !slices.ContainsFunc(endpoints, func(s *discoveryv1.EndpointSlice) bool { return offers(s, svc.Spec.Ports[i].Name) }):
		return no("MissingEndpoints", "endpointslices for service/%s in %q have no addresses with port name %q", name, namespace, svc.Spec.Ports[i].Name), false
	}
	return verdict{}, true
}

// offers says whether a slice has a ready endpoint and a port of that name.
func offers(s *discoveryv1.EndpointSlice, port string) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool {
		return e.Conditions.Ready == nil || *e.Conditions.Ready
	}) && slices.ContainsFunc(s.Ports, func(p discoveryv1.EndpointPort) bool {
		return p.Name != nil && *p.Name == port && p.Port != nil
	})
}

// probe asks the server for the discovery of its group version.
func probe(ctx context.Context, e *Extension) verdict {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan error, probes)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	for range probes {
		asking.Go(func() { results <- e.backend.answers(ctx, e.Path()) })
	}
	var last error
	for range probes {
		if last = <-results; last == nil {
			return passed
		}
	}
	return no("FailedDiscoveryCheck", "%s", last)
}

// answers checks that a path that every such server has is served.
func (b *backend) answers(ctx context.Context, path string) error {
	a, err := b.ask(ctx, path, nil)
	if err != nil {
		return err
	}
	if a.code < http.StatusOK || a.code >= http.StatusMultipleChoices {
		return fmt.Errorf("failing or missing response from %v: %w", a.from, fmt.Errorf("bad status from %v: %d", a.from, a.code))
	}
	return nil
}

// apply returns s's status with v as its condition; changed says whether it differs. The time moves with
// the condition's status.
func (v verdict) apply(s *apiregistrationv1.APIService, now metav1.Time) (_ apiregistrationv1.APIServiceStatus, changed bool) {
	c := apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: v.status, LastTransitionTime: now, Reason: v.reason, Message: v.message,
	}
	status := s.Status.DeepCopy()
	i := slices.IndexFunc(status.Conditions, func(have apiregistrationv1.APIServiceCondition) bool { return have.Type == c.Type })
	if i < 0 {
		status.Conditions = append(status.Conditions, c)
		return *status, true
	}
	if status.Conditions[i].Status == c.Status {
		c.LastTransitionTime = status.Conditions[i].LastTransitionTime
	}
	status.Conditions[i] = c
	return *status, !equality.Semantic.DeepEqual(*status, s.Status)
}

// isAvailable reads the condition.
func isAvailable(s *apiregistrationv1.APIService) bool {
	return slices.ContainsFunc(s.Status.Conditions, func(c apiregistrationv1.APIServiceCondition) bool {
		return c.Type == apiregistrationv1.Available && c.Status == apiregistrationv1.ConditionTrue
	})
}
