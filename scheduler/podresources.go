package scheduler

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"

	"clipper/api"
)

// podResources shows what the scheduler counts with: requests and limits of all pods that are not over.
type podResources struct{ pods api.TypedView[*corev1.Pod] }

// PodResources answers /metrics/resources. It reads the pods when somebody asks.
func PodResources(c api.Client) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(podResources{api.Pods.View(c)})
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

var (
	podResourceLabels = []string{"namespace", "pod", "node", "scheduler", "priority", "resource", "unit"}

	podRequestDesc = prometheus.NewDesc("kube_pod_resource_request", "Resources requested by workloads on the cluster, broken down by pod. This shows the resource usage the scheduler and kubelet expect per pod for resources along with the unit for the resource if any.", podResourceLabels, nil)
	podLimitDesc   = prometheus.NewDesc("kube_pod_resource_limit", "Resources limit for workloads on the cluster, broken down by pod. This shows the resource usage the scheduler and kubelet expect per pod for resources along with the unit for the resource if any.", podResourceLabels, nil)
)

// Describe implements prometheus.Collector.
func (podResources) Describe(out chan<- *prometheus.Desc) { out <- podRequestDesc; out <- podLimitDesc }

// Collect implements prometheus.Collector.
func (r podResources) Collect(out chan<- prometheus.Metric) {
	for _, p := range r.pods.List("") {
		if p.Spec.NodeName != "" && (p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed) {
			continue // it uses nothing any more
		}
		show(out, podRequestDesc, p, resource.PodRequests(p, resource.PodResourcesOptions{}))
		show(out, podLimitDesc, p, resource.PodLimits(p, resource.PodResourcesOptions{}))
	}
}

func show(out chan<- prometheus.Metric, desc *prometheus.Desc, p *corev1.Pod, amounts corev1.ResourceList) {
	priority := ""
	if p.Spec.Priority != nil {
		priority = strconv.Itoa(int(*p.Spec.Priority))
	}
	for name, amount := range amounts {
		if !amount.IsZero() {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, amount.AsApproximateFloat64(),
				p.Namespace, p.Name, p.Spec.NodeName, p.Spec.SchedulerName, priority, string(name), unitOf(name))
		}
	}
}

// unitOf is what a resource is counted in, "" for what has no unit that we know.
func unitOf(name corev1.ResourceName) string {
	switch {
	case name == corev1.ResourceCPU:
		return "cores"
	case name == corev1.ResourceMemory, name == corev1.ResourceStorage, name == corev1.ResourceEphemeralStorage,
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		return "bytes"
	case strings.HasPrefix(string(name), corev1.ResourceAttachableVolumesPrefix):
		return "integer"
	}
	return ""
}
