package aggregation

import (
	"net/http"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"clipper/apiserver/served"
)

// NewLocal returns an extension that is answered for in the API server's own process, as long as its APIService
// names no service. Whoever installs a server for the same group version takes over by changing the APIService.
func NewLocal(gv schema.GroupVersion, priority served.Priority, resources []metav1.APIResource, h http.Handler) *Extension {
	return &Extension{
		GroupVersion: gv, Priority: priority, available: true, local: h,
		Discovery: apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Resources: FromLegacy(resources)},
	}
}

// name is that of the extension's APIService.
func (e *Extension) name() string { return e.Version + "." + e.Group }

// registration is the APIService of a local extension. It has no label that would make the registrar undo what
// users change.
func (e *Extension) registration() *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: e.name()},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: e.Group, Version: e.Version, GroupPriorityMinimum: e.Priority.Group, VersionPriority: e.Priority.Version,
		},
	}
}

// locals returns the extensions that are answered for here at this moment.
func (c *Controller) locals() []*Extension {
	var out []*Extension
	for _, e := range c.Local {
		if s, ok := APIServices.View(c.Client).Get("", e.name()); ok && s.Spec.Service == nil {
			out = append(out, e)
		}
	}
	return out
}

func (c *Controller) isLocal(name string) bool {
	for _, e := range c.Local {
		if e.name() == name {
			return true
		}
	}
	return false
}
