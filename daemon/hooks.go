package daemon

import (
	"context"
	"slices"

	"clipper/apiserver"
)

// hooks lists the parts of a control plane by the names and in the order of upstream's health checks: monitoring asks
// for some of them alone, or excludes them. Those that have something to read or write first say whether they have; the
// others are done before the API is served, or work from the moment on when it is.
func (cp *controlPlane) hooks() []apiserver.Hook {
	queueing := []apiserver.Hook{started("max-in-flight-filter")}
	if cp.fairness != nil {
		queueing = []apiserver.Hook{
			when("priority-and-fairness-config-consumer", cp.fairness.Ready),
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
			when("crd-informer-synced", cp.customs.Ready),
			started("start-system-namespaces-controller"),
			started("start-cluster-authentication-info-controller"),
			started("start-kube-apiserver-identity-lease-controller"),
			started("start-kube-apiserver-identity-lease-garbage-collector"),
			started("storage-readiness"),
			started("start-legacy-token-tracking-controller"),
			when("start-service-ip-repair-controllers", cp.allocator.Ready),
			started("rbac/bootstrap-roles"),
			started("scheduling/bootstrap-system-priority-classes"),
			started("priority-and-fairness-config-producer"),
			started("bootstrap-controller"),
			started("start-kubernetes-service-cidr-controller"),
			started("start-kube-aggregator-informers"),
			started("apiservice-status-local-available-controller"),
			started("apiservice-status-remote-available-controller"),
			when("apiservice-registration-controller", cp.extensions.Ready),
			when("apiservice-discovery-controller", cp.extensions.Ready),
			started("kube-apiserver-autoregistration"),
			{Name: "autoregister-completion", Started: cp.registrar.Ready},
			started("apiservice-openapi-controller"),
			started("apiservice-openapiv3-controller"),
		})
}

// when is a part that is not there at once.
func when(part string, ready func(context.Context) error) apiserver.Hook {
	return apiserver.Hook{Name: "poststarthook/" + part, Started: ready}
}

func started(part string) apiserver.Hook { return apiserver.Hook{Name: "poststarthook/" + part} }
