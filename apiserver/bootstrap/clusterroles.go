package bootstrap

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/pki"
)

// clusterRoles are the roles that every cluster has, with the names and the reach they have upstream.
func clusterRoles() []*rbacv1.ClusterRole {
	roles := []*rbacv1.ClusterRole{
		clusterRole("cluster-admin", allow("*", "*", "*"), allowURLs("*", "*")),
		clusterRole("system:discovery", allowURLs("get",
			"/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/")),
		clusterRole("system:monitoring", allowURLs("get",
			"/flagz /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/* /statusz"),
			allow("get", core, "nodes/metrics")),
		clusterRole("system:public-info-viewer", allowURLs("get", "/healthz /livez /readyz /version /version/")),
		clusterRole("system:basic-user",
			allow("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			allow("create", "authentication.k8s.io", "selfsubjectreviews")),
		clusterRole("system:service-account-issuer-discovery",
			allowURLs("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		clusterRole("system:auth-delegator",
			allow("create", "authentication.k8s.io", "tokenreviews"),
			allow("create", "authorization.k8s.io", "subjectaccessreviews")),
		aggregated("admin", ""), aggregated("edit", "admin"), aggregated("view", "edit"),
		part("admin",
			allow("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			allow(readWrite, "rbac.authorization.k8s.io", "rolebindings roles")),
		part("edit", editRules()...),
		part("view", viewRules()...),
		metricsReader(),
	}
	roles = append(roles, componentRoles()...)
	return append(roles, certificateRoles()...)
}

func editRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		allow(read, core, "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		allow("impersonate", core, "serviceaccounts"),
		allow(write, core, "pods pods/attach pods/exec pods/portforward pods/proxy"),
		allow("create", core, "pods/eviction"),
		allow(write, core, "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale "+
			"secrets serviceaccounts services services/proxy"),
		allow("create", core, "serviceaccounts/token"),
		allow(write, "core events.k8s.io", "events"),
		allow(write, "apps", "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "+
			"statefulsets statefulsets/scale"),
		allow(write, "autoscaling", "horizontalpodautoscalers"),
		allow(write, "batch", "cronjobs jobs"),
		allow(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies "+
			"replicasets replicasets/scale replicationcontrollers/scale"),
		allow(write, "policy", "poddisruptionbudgets"),
		allow(write, "networking.k8s.io", "ingresses networkpolicies"),
		allow(readWrite, "coordination.k8s.io", "leases"),
		allow(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
	}
}

// metricsReader lets those who may look at pods see what they use. The name differs from that of the role which
// metrics-server brings and takes away.
func metricsReader() *rbacv1.ClusterRole {
	r := clusterRole("clipper:aggregated-metrics-reader", allow(read, "metrics.k8s.io", "nodes pods"))
	for _, to := range []string{"admin", "edit", "view"} {
		r.Labels[aggregateTo+to] = "true"
	}
	return r
}

func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		allow(read, core, "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "+
			"replicationcontrollers/scale serviceaccounts services services/status"),
		allow(read, core, "bindings limitranges namespaces/status pods/log pods/status replicationcontrollers/status "+
			"resourcequotas resourcequotas/status"),
		allow(read, core, "namespaces"),
		allow(read, "core events.k8s.io", "events"),
		allow(read, "discovery.k8s.io", "endpointslices"),
		allow(read, "apps", "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "+
			"replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status"),
		allow(read, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
		allow(read, "batch", "cronjobs cronjobs/status jobs jobs/status"),
		allow(read, "extensions", "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses "+
			"ingresses/status networkpolicies replicasets replicasets/scale replicasets/status replicationcontrollers/scale"),
		allow(read, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
		allow(read, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
		allow(read, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
	}
}

// componentRoles are for the parts of a cluster, ours or others', that run with their own identity.
func componentRoles() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		clusterRole("system:heapster", allow(read, core, "events namespaces nodes pods"), allow(read, "extensions", "deployments")),
		clusterRole("system:node", nodeRoleRules()...),
		clusterRole("system:node-problem-detector", allow("get", core, "nodes"), allow("patch", core, "nodes/status"), events()),
		clusterRole("system:node-proxier", allow("list watch", core, "endpoints services"), allow(read, core, "nodes"), events(),
			allow("list watch", "networking.k8s.io", "servicecidrs"), allow("list watch", "discovery.k8s.io", "endpointslices")),
		// Every node answers cluster DNS, and has to tell a name without records from one that does not exist.
		clusterRole("clipper:node-dns", allow("list watch", core, "namespaces")),
		clusterRole("system:node-bootstrapper", allow("create get list watch", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:kubelet-api-admin", allow(read, core, "nodes"), allow("proxy", core, "nodes"),
			allow("*", core, "nodes/log nodes/metrics nodes/proxy nodes/stats"), allow("*", core, "nodes/configz nodes/healthz nodes/pods")),
		clusterRole("system:kube-aggregator", allow(read, core, "endpoints services")),
		clusterRole("system:kube-dns", allow("list watch", core, "endpoints services")),
		clusterRole("system:kube-controller-manager", slices.Concat([]rbacv1.PolicyRule{events(),
			allow("create", "coordination.k8s.io", "leases"),
			allow("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
			allow("create", core, "secrets serviceaccounts"),
			allow("delete", core, "secrets"),
			allow("get", core, "configmaps namespaces secrets serviceaccounts"),
			allow("update", core, "secrets serviceaccounts")}, reviewRules(), []rbacv1.PolicyRule{
			allow("list watch", "*", "*"),
			allow("create", core, "serviceaccounts/token")})...),
		clusterRole("system:kube-scheduler", schedulerRules()...),
		clusterRole("system:volume-scheduler",
			allow(read+" patch update", core, "persistentvolumes"),
			allow(read, "storage.k8s.io", "storageclasses"),
			allow(read+" patch update", core, "persistentvolumeclaims")),
		clusterRole("system:persistent-volume-provisioner",
			allow(read+" create delete", core, "persistentvolumes"),
			allow(read+" update", core, "persistentvolumeclaims"),
			allow(read, "storage.k8s.io", "storageclasses"),
			allow("watch", core, "events"), events()),
	}
}

func reviewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		allow("create", "authentication.k8s.io", "tokenreviews"),
		allow("create", "authorization.k8s.io", "subjectaccessreviews"),
	}
}

func schedulerRules() []rbacv1.PolicyRule {
	return slices.Concat([]rbacv1.PolicyRule{events(),
		allow("create", "coordination.k8s.io", "leases"),
		allow("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
		allow(readWrite, "coordination.k8s.io", "leasecandidates"),
		allow(read, core, "nodes"),
		allow(read+" delete", core, "pods"),
		allow("create", core, "bindings pods/binding"),
		allow("patch update", core, "pods/status"),
		allow(read, core, "replicationcontrollers services"),
		allow(read, "apps extensions", "replicasets"),
		allow(read, "apps", "statefulsets"),
		allow(read, "policy", "poddisruptionbudgets"),
		allow(read, core, "persistentvolumeclaims persistentvolumes"),
	}, reviewRules(), []rbacv1.PolicyRule{
		allow(read, "storage.k8s.io", "csinodes"),
		allow(read, "storage.k8s.io", "volumeattachments"),
		allow(read, core, "namespaces"),
		allow(read, "storage.k8s.io", "csidrivers"),
		allow(read, "storage.k8s.io", "csistoragecapacities"),
		allow(read, "resource.k8s.io", "deviceclasses"),
		allow(read+" patch update", "resource.k8s.io", "resourceclaims"),
		allow(read+" patch update", "resource.k8s.io", "resourceclaims/status"),
		allow("update", core, "pods/finalizers"),
		allow(read, "resource.k8s.io", "resourceslices"),
		allow("create delete", "resource.k8s.io", "resourceclaims"),
		allow("patch update", "resource.k8s.io", "resourceclaims/binding"),
	})
}

// nodeRoleRules exists for clusters that bind it; ours decides on nodes in the node authorizer.
func nodeRoleRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		allow("create", "authentication.k8s.io", "tokenreviews"),
		allow("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
		allow(read, core, "services"),
		allow("create get list watch", core, "nodes"),
		allow("patch update", core, "nodes/status"),
		allow("patch update", core, "nodes"),
		events(),
		allow(read, core, "pods"),
		allow("create delete", core, "pods"),
		allow("patch update", core, "pods/status"),
		allow("create", core, "pods/eviction"),
		allow(read, core, "configmaps secrets"),
		allow("get", core, "persistentvolumeclaims persistentvolumes"),
		allow("get", core, "endpoints"),
		allow("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
		allow("create delete get patch update", "coordination.k8s.io", "leases"),
		allow("get", "storage.k8s.io", "volumeattachments"),
		allow("create", core, "serviceaccounts/token"),
		allow("get patch update", core, "persistentvolumeclaims/status"),
		allow(read, "storage.k8s.io", "csidrivers"),
		allow("create delete get patch update", "storage.k8s.io", "csinodes"),
		allow(read, "node.k8s.io", "runtimeclasses"),
		allow("get", "resource.k8s.io", "resourceclaims"),
		allow("deletecollection", "resource.k8s.io", "resourceslices"),
		allow("get", core, "serviceaccounts"),
	}
}

func certificateRoles() []*rbacv1.ClusterRole {
	const (
		api    = "certificates.k8s.io"
		prefix = "system:certificates.k8s.io:"
	)
	return []*rbacv1.ClusterRole{
		clusterRole(prefix+"certificatesigningrequests:nodeclient", allow("create", api, "certificatesigningrequests/nodeclient")),
		clusterRole(prefix+"certificatesigningrequests:selfnodeclient", allow("create", api, "certificatesigningrequests/selfnodeclient")),
		clusterRole(prefix+"legacy-unknown-approver", allow("approve", api, "signers", "kubernetes.io/legacy-unknown")),
		clusterRole(prefix+"kubelet-serving-approver", allow("approve", api, "signers", "kubernetes.io/kubelet-serving")),
		clusterRole(prefix+"kube-apiserver-client-approver", allow("approve", api, "signers", "kubernetes.io/kube-apiserver-client")),
		clusterRole(prefix+"kube-apiserver-client-kubelet-approver",
			allow("approve", api, "signers", "kubernetes.io/kube-apiserver-client-kubelet")),
	}
}

// clusterRoleBindings hand the roles out. Those named clipper: are ours: what kubeadm adds with its own
// names, and what the agent needs because it is kubelet, service proxy and DNS server in one.
func clusterRoleBindings() []*rbacv1.ClusterRoleBinding {
	same := func(name string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
		return clusterBinding(name, name, subjects...)
	}
	const csr = "system:certificates.k8s.io:certificatesigningrequests:"
	bootstrappers, nodes := group("system:bootstrappers"), group("system:nodes")
	return []*rbacv1.ClusterRoleBinding{
		same("cluster-admin", group(user.SystemPrivilegedGroup)),
		same("system:monitoring", group("system:monitoring")),
		same("system:discovery", group(user.AllAuthenticated)),
		same("system:basic-user", group(user.AllAuthenticated)),
		same("system:public-info-viewer", group(user.AllAuthenticated), group(user.AllUnauthenticated)),
		same("system:service-account-issuer-discovery", group("system:serviceaccounts")),
		same("system:node-proxier", userSubject(user.KubeProxy)),
		same("system:kube-controller-manager", userSubject(user.KubeControllerManager)),
		same("system:kube-dns", serviceAccount("kube-dns")),
		same("system:kube-scheduler", userSubject(user.KubeScheduler)),
		same("system:volume-scheduler", userSubject(user.KubeScheduler)),
		same("system:node"), // nobody: the node authorizer does this work
		clusterBinding("clipper:kubelet-api-admin", "system:kubelet-api-admin", userSubject(pki.KubeletClientUser)),
		clusterBinding("clipper:node-proxier", "system:node-proxier", nodes),
		clusterBinding("clipper:node-dns", "clipper:node-dns", nodes),
		clusterBinding("clipper:node-bootstrapper", "system:node-bootstrapper", bootstrappers),
		clusterBinding("clipper:approve-node-client", csr+"nodeclient", bootstrappers),
		clusterBinding("clipper:approve-node-client-renewal", csr+"selfnodeclient", nodes),
	}
}
