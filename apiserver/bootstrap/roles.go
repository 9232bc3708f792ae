package bootstrap

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

const (
	// AuthenticationConfig is the config map that tells extension servers whom to believe.
	AuthenticationConfig = "extension-apiserver-authentication"
	clusterInfo          = "cluster-info"
	legacyTokenTracking  = "kube-apiserver-legacy-service-account-token-tracking"
)

// roles are the namespaced roles that every cluster has.
func roles() []*rbacv1.Role {
	const system, public = metav1.NamespaceSystem, metav1.NamespacePublic
	lock := []rbacv1.PolicyRule{
		allow(read+" create update", "coordination.k8s.io", "leases"), allow(read+" create update", "coordination.k8s.io", "leasecandidates")}
	return []*rbacv1.Role{
		role(system, "extension-apiserver-authentication-reader", allow(read, core, "configmaps", AuthenticationConfig)),
		role(system, controllerPrefix+"bootstrap-signer", allow(read, core, "secrets")),
		role(system, controllerPrefix+"cloud-provider", allow(read+" create", core, "configmaps")),
		role(system, controllerPrefix+"token-cleaner", allow(read+" delete", core, "secrets"), events()),
		role(system, "system::leader-locking-kube-controller-manager", lock...),
		role(system, "system::leader-locking-kube-scheduler", lock...),
		role(public, controllerPrefix+"bootstrap-signer",
			allow(read, core, "configmaps"), allow("update", core, "configmaps", clusterInfo), events()),
		// Whoever joins reads the authority's certificate here before trusting anything, and checks it
		// against the hash in the token.
		role(public, "clipper:cluster-info", allow("get", core, "configmaps", clusterInfo)),
	}
}

func roleBindings() []*rbacv1.RoleBinding {
	const system, public = metav1.NamespaceSystem, metav1.NamespacePublic
	manager, scheduler := userSubject(user.KubeControllerManager), userSubject(user.KubeScheduler)
	same := func(ns, name string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
		return binding(ns, name, name, subjects...)
	}
	return []*rbacv1.RoleBinding{
		binding(system, "system::extension-apiserver-authentication-reader", "extension-apiserver-authentication-reader", manager, scheduler),
		same(system, "system::leader-locking-kube-controller-manager", manager, serviceAccount("kube-controller-manager"), serviceAccount("leader-election-controller")),
		same(system, "system::leader-locking-kube-scheduler", scheduler, serviceAccount("kube-scheduler")),
		same(system, controllerPrefix+"bootstrap-signer", serviceAccount("bootstrap-signer")),
		same(system, controllerPrefix+"cloud-provider", serviceAccount("cloud-provider")),
		same(system, controllerPrefix+"token-cleaner", serviceAccount("token-cleaner")),
		same(public, controllerPrefix+"bootstrap-signer", serviceAccount("bootstrap-signer")),
		same(public, "clipper:cluster-info", group(user.AllUnauthenticated), group(user.AllAuthenticated)),
	}
}
