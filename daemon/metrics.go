package daemon

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	runningcontrollers "k8s.io/component-base/metrics/prometheus/controllers"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // counts the requests that this process makes: to webhooks, for one

	"clipper/apiserver/allocate"
	"clipper/apiserver/authn/satoken"
	"clipper/controllers/certificates"
	"clipper/controllers/cronjob"
	"clipper/controllers/endpointslice"
	"clipper/controllers/job"
	"clipper/controllers/nodelifecycle"
	"clipper/controllers/persistentvolume"
	"clipper/controllers/podgc"
	"clipper/controllers/queue"
	"clipper/controllers/rootca"
	"clipper/controllers/tainteviction"
	"clipper/scheduler"
)

// counted is what /metrics shows beside the API server's own: scheduler and controllers have no port of their own, as
// they have upstream, so all that they count is shown there, too.
func (cp *controlPlane) counted() []prometheus.Collector {
	runningcontrollers.Register()
	return slices.Concat(cp.collectors, []prometheus.Collector{cp.extensions, cp.allocator, cp.meter, queue.Metrics},
		job.Collectors(), cronjob.Collectors(), nodelifecycle.Collectors(cp.client), scheduler.Collectors(),
		certificates.Collectors(), endpointslice.Collectors(cp.client), persistentvolume.Collectors(cp.client), podgc.Collectors(),
		rootca.Collectors(), tainteviction.Collectors(), allocate.Collectors(), satoken.Collectors())
}
