package daemon

import (
	"slices"

	"clipper/apiserver"
)

// hooks lists the parts of a control plane by the names and in the order of upstream's health checks:
// monitoring asks for some of them alone, or excludes them. Most are one with the start of the server here.
func (cp *controlPlane) hooks() []apiserver.Hook {
	queueing := []apiserver.Hook{started("max-in-flight-filter")}
	if cp.fairness != nil {
		queueing = []apiserver.Hook{
			{Name: "poststarthook/priority-and-fairness-config-consumer", Started: cp.fairness.Ready},
			started("priority-and-fairness-filter"),
		}
	}
	return slices.Concat(
		[]apiserver.Hook{started("start-apiserver-admission-initializer"), started("generic-apiserver-start-informers")},
		queueing,
		[]apiserver.Hook{
			started("storage-object-count-tracker-hook"),
			started("start-apiextensions-informers"),
			started("start-apiextensions-controllers"),
			started("crd-informer-synced"),
			started("start-system-namespaces-controller"),
			started("start-cluster-authentication-info-controller"),
			started("start-kube-apiserver-identity-lease-controller"),
			started("start-kube-apiserver-identity-lease-garbage-collector"),
			started("storage-readiness"),
			started("start-legacy-token-tracking-controller"),
			started("start-service-ip-repair-controllers"),
			started("rbac/bootstrap-roles"),
			started("scheduling/bootstrap-system-priority-classes"),
			started("priority-and-fairness-config-producer"),
			started("bootstrap-controller"),
			started("start-kubernetes-service-cidr-controller"),
			started("start-kube-aggregator-informers"),
			started("apiservice-status-local-available-controller"),
			started("apiservice-status-remote-available-controller"),
			started("apiservice-registration-controller"),
			started("apiservice-discovery-controller"),
			started("kube-apiserver-autoregistration"),
			{Name: "autoregister-completion"},
			started("apiservice-openapi-controller"),
			started("apiservice-openapiv3-controller"),
		})
}

func started(part string) apiserver.Hook { return apiserver.Hook{Name: "poststarthook/" + part} }
