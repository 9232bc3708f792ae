package bootstrap

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
)

const controllerPrefix = "system:controller:"

// controllerRoles are the roles of upstream's controllers, for those who run one of their own under its
// usual service account. Clipper's controllers do not use them: they are part of the server.
func controllerRoles() []*rbacv1.ClusterRole {
	return slices.Concat(workloadControllers(), storageControllers(), networkControllers(), clusterControllers())
}

func controller(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return clusterRole(controllerPrefix+name, rules...)
}

func workloadControllers() []*rbacv1.ClusterRole {
	const both = "apps extensions"
	pods := allow("create delete list patch watch", core, "pods")
	return []*rbacv1.ClusterRole{
		controller("cronjob-controller",
			allow(read+" update", "batch", "cronjobs"), allow(read+" create update delete patch", "batch", "jobs"),
			allow("update", "batch", "cronjobs/status"), allow("update", "batch", "cronjobs/finalizers"),
			allow("list watch delete", core, "pods"), events()),
		controller("daemon-set-controller",
			allow(read, both, "daemonsets"), allow("update", both, "daemonsets/status"), allow("update", both, "daemonsets/finalizers"),
			allow("list watch", core, "nodes"), pods, allow("create", core, "pods/binding"),
			allow(read+" create delete update patch", "apps", "controllerrevisions"), events()),
		controller("deployment-controller",
			allow(read+" update", both, "deployments"), allow("update", both, "deployments/status"), allow("update", both, "deployments/finalizers"),
			allow(read+" create update patch delete", both, "replicasets"), allow(read+" update", core, "pods"), events()),
		controller("disruption-controller",
			allow(read, both, "deployments"), allow(read, both, "replicasets"), allow(read, core, "replicationcontrollers"),
			allow(read, "policy", "poddisruptionbudgets"), allow(read, "apps", "statefulsets"),
			allow("update", "policy", "poddisruptionbudgets/status"), allow("patch update", core, "pods/status"), allow("get", "*", "*/scale"), events()),
		controller("horizontal-pod-autoscaler",
			allow(read, "autoscaling", "horizontalpodautoscalers"), allow("update", "autoscaling", "horizontalpodautoscalers/status"),
			allow("get update", "*", "*/scale"), allow("list watch", core, "pods"), allow("list watch", "metrics.k8s.io", "pods"),
			allow(read, "custom.metrics.k8s.io", "*"), allow(read, "external.metrics.k8s.io", "*"), events()),
		controller("job-controller",
			allow(read+" update patch", "batch", "jobs"), allow("update", "batch", "jobs/status"), allow("update", "batch", "jobs/finalizers"), pods, events()),
		controller("replicaset-controller",
			allow(read+" update", both, "replicasets"), allow("update", both, "replicasets/status"), allow("update", both, "replicasets/finalizers"), pods, events()),
		controller("replication-controller",
			allow(read+" update", core, "replicationcontrollers"), allow("update", core, "replicationcontrollers/status"),
			allow("update", core, "replicationcontrollers/finalizers"), pods, events()),
		controller("statefulset-controller",
			allow("list watch", core, "pods"), allow(read, "apps", "statefulsets"), allow("update", "apps", "statefulsets/status"),
			allow("update", "apps", "statefulsets/finalizers"), allow("get create delete update patch", core, "pods"),
			allow(read+" create delete update patch", "apps", "controllerrevisions"),
			allow(read+" create", core, "persistentvolumeclaims"), allow("update delete", core, "persistentvolumeclaims"),
			allow("update", core, "pods/finalizers"), events()),
		controller("ttl-after-finished-controller", allow(read+" delete", "batch", "jobs"), events()),
		controller("pod-garbage-collector",
			allow("list watch delete", core, "pods"), allow(read, core, "nodes"), allow("patch", core, "pods/status")),
		controller("resource-claim-controller",
			allow(read, core, "pods"), allow("update", core, "pods/finalizers"), allow(read+" create delete", "resource.k8s.io", "resourceclaims"),
			allow("update patch", "resource.k8s.io", "resourceclaims resourceclaims/status"),
			allow("update patch", core, "pods/status"), events(), allow("update patch", "resource.k8s.io", "resourceclaims/binding")),
		controller("device-taint-eviction-controller",
			allow(read+" delete", core, "pods"), allow("update patch", core, "pods/status"), allow(read, "resource.k8s.io", "resourceclaims"),
			allow(read, "resource.k8s.io", "resourceslices"), allow(read, "resource.k8s.io", "deviceclasses"), events()),
		controller("ephemeral-volume-controller",
			allow(read, core, "pods"), allow("update", core, "pods/finalizers"), allow(read+" create", core, "persistentvolumeclaims"), events()),
	}
}

func storageControllers() []*rbacv1.ClusterRole {
	const storage = "storage.k8s.io"
	return []*rbacv1.ClusterRole{
		controller("attachdetach-controller",
			allow("list watch", core, "persistentvolumeclaims persistentvolumes"), allow(read, core, "nodes"), allow("patch update", core, "nodes/status"),
			allow("list watch", core, "pods"), events(), allow(read+" create delete", storage, "volumeattachments"),
			allow(read, storage, "csidrivers"), allow(read, storage, "csinodes")),
		controller("expand-controller",
			allow(read+" update patch", core, "persistentvolumes"), allow("update patch", core, "persistentvolumeclaims/status"),
			allow(read, core, "persistentvolumeclaims"), events()),
		controller("persistent-volume-binder",
			allow(read+" update create delete", core, "persistentvolumes"), allow("update", core, "persistentvolumes/status"),
			allow(read+" update", core, "persistentvolumeclaims"), allow("update", core, "persistentvolumeclaims/status"),
			allow(read+" create delete", core, "pods"), allow(read, storage, "storageclasses"), allow("list watch", core, "nodes"),
			events(), allow("watch", core, "events")),
		controller("pv-protection-controller", allow(read+" update", core, "persistentvolumes"), events()),
		controller("pvc-protection-controller", allow(read+" update", core, "persistentvolumeclaims"), allow("update", core, "persistentvolumeclaims/status"),
			allow(read, core, "pods"), events()),
		controller("selinux-warning-controller", events(), allow(read, core, "persistentvolumes"), allow(read, core, "persistentvolumeclaims"),
			allow(read, core, "pods"), allow(read, storage, "csidrivers")),
		controller("volumeattributesclass-protection-controller",
			allow(read, core, "persistentvolumeclaims"), allow(read, core, "persistentvolumes"),
			allow(read+" update", storage, "volumeattributesclasses"), events()),
	}
}

func networkControllers() []*rbacv1.ClusterRole {
	const (
		discover = "discovery.k8s.io"
		net      = "networking.k8s.io"
	)
	return []*rbacv1.ClusterRole{
		controller("endpoint-controller",
			allow(read, core, "pods services"), allow(read+" create update delete", core, "endpoints"), allow("create", core, "endpoints/restricted"), events()),
		controller("endpointslice-controller",
			allow(read, core, "nodes pods services"), allow("update", core, "services/finalizers"),
			allow(read+" create update delete", discover, "endpointslices"), events()),
		controller("endpointslicemirroring-controller",
			allow(read, core, "endpoints services"), allow("update", core, "services/finalizers"), allow("update", core, "endpoints/finalizers"),
			allow(read+" create update delete", discover, "endpointslices"), events()),
		controller("route-controller", allow("list watch", core, "nodes"), allow("patch", core, "nodes/status"), events()),
		controller("service-cidrs-controller",
			allow(read+" patch update", net, "servicecidrs"), allow("patch update", net, "servicecidrs/finalizers"),
			allow("patch update", net, "servicecidrs/status"), allow(read, net, "ipaddresses"), events()),
		controller("service-controller",
			allow(read, core, "services"), allow("patch update", core, "services/status"), allow("list watch", core, "nodes"), events()),
	}
}

func clusterControllers() []*rbacv1.ClusterRole {
	const certs = "certificates.k8s.io"
	return []*rbacv1.ClusterRole{
		controller("certificate-controller",
			allow(read+" delete", certs, "certificatesigningrequests"),
			allow("update", certs, "certificatesigningrequests/approval certificatesigningrequests/status"),
			allow("approve", certs, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
			allow("sign", certs, "signers", "kubernetes.io/kube-apiserver-client", "kubernetes.io/kube-apiserver-client-kubelet",
				"kubernetes.io/kubelet-serving", "kubernetes.io/legacy-unknown"),
			allow("create", "authorization.k8s.io", "subjectaccessreviews"), events()),
		controller("clusterrole-aggregation-controller", allow(read+" escalate patch update", "rbac.authorization.k8s.io", "clusterroles")),
		controller("generic-garbage-collector", allow(read+" patch update delete", "*", "*"), events()),
		controller("legacy-service-account-token-cleaner",
			allow("get", core, "configmaps", legacyTokenTracking), allow("patch delete", core, "secrets")),
		controller("namespace-controller",
			allow(read+" delete", core, "namespaces"), allow("update", core, "namespaces/finalize namespaces/status"),
			allow(read+" delete deletecollection", "*", "*")),
		controller("node-controller",
			allow(read+" update delete patch", core, "nodes"), allow("patch update", core, "nodes/status"),
			allow("patch update", core, "pods/status"), allow(read+" delete", core, "pods"), events()),
		controller("resourcequota-controller", allow("list watch", "*", "*"), allow("update", core, "resourcequotas/status"), events()),
		controller("root-ca-cert-publisher", allow("create update", core, "configmaps"), events()),
		controller("service-account-controller", allow("create", core, "serviceaccounts"), events()),
		controller("ttl-controller", allow("update patch list watch", core, "nodes"), events()),
		controller("validatingadmissionpolicy-status-controller",
			allow(read, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
			allow("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"), events()),
	}
}

// controllerBindings bind each controller role to the service account of its name.
func controllerBindings() []*rbacv1.ClusterRoleBinding {
	var out []*rbacv1.ClusterRoleBinding
	for _, r := range controllerRoles() {
		out = append(out, clusterBinding(r.Name, r.Name, serviceAccount(r.Name[len(controllerPrefix):])))
	}
	return out
}
