package daemon

import (
	"fmt"
	"os"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics"
	runningcontrollers "k8s.io/component-base/metrics/prometheus/controllers"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // counts the requests that this process makes: to webhooks, for one
	"sigs.k8s.io/yaml"

	"clipper/apiserver/allocate"
	"clipper/apiserver/authn/satoken"
	"clipper/apiserver/exposition"
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

// shownMetrics is what is shown of all that is counted. What the libraries count that come from upstream they restrict
// themselves as well, where it is counted.
func shownMetrics(o *metrics.Options) (exposition.View, error) {
	if o.ShowHiddenMetricsForVersion != "" {
		metrics.SetShowHidden()
	}
	metrics.SetDisabledMetrics(o.DisabledMetrics)
	allowed := o.AllowListMapping
	if file := o.AllowListMappingManifest; allowed == nil && file != "" {
		text, err := os.ReadFile(file)
		if err == nil {
			err = yaml.Unmarshal(text, &allowed)
		}
		if err != nil {
			return exposition.View{}, fmt.Errorf("--allow-metric-labels-manifest %s: %w", file, err)
		}
	}
	if len(allowed) > 0 {
		metrics.SetLabelAllowList(allowed)
	}
	return exposition.New(o.DisabledMetrics, allowed), nil
}

// counted is what /metrics shows beside the API server's own: scheduler and controllers have no port of their own, as
// they have upstream, so all that they count is shown there, too.
func (cp *controlPlane) counted() []prometheus.Collector {
	runningcontrollers.Register()
	return slices.Concat(cp.collectors, []prometheus.Collector{cp.extensions, cp.allocator, cp.meter, queue.Metrics},
		job.Collectors(), cronjob.Collectors(), nodelifecycle.Collectors(cp.client), scheduler.Collectors(),
		certificates.Collectors(), endpointslice.Collectors(cp.client), persistentvolume.Collectors(cp.client), podgc.Collectors(),
		rootca.Collectors(), tainteviction.Collectors(), allocate.Collectors(), satoken.Collectors())
}
