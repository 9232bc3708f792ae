package node

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
)

// safeSysctls are those that a pod may set for itself without harm to others. Upstream's list; each is
// namespaced, by the network or the IPC namespace.
var safeSysctls = []string{
	"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports",
	"net.ipv4.ip_unprivileged_port_start", "net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_keepalive_time",
	"net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

// forbiddenSysctl says which of the pod's sysctls it may not set, "" if it may set all. unsafe are names, or
// beginnings of names followed by *, that the node's owner allows in addition.
func forbiddenSysctl(pod *corev1.Pod, unsafe []string) string {
	if pod.Spec.SecurityContext == nil {
		return ""
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(s.Name)
		ns, known := allowedSysctl(name, unsafe)
		switch {
		case !known:
			return fmt.Sprintf("forbidden sysctl: %q not allowlisted", name)
		case pod.Spec.HostNetwork && ns == sysctl.NetNamespace, pod.Spec.HostIPC && ns == sysctl.IPCNamespace:
			return fmt.Sprintf("forbidden sysctl: %q not allowed with host %s enabled", name, ns)
		}
	}
	return ""
}

// allowedSysctl returns the namespace of a sysctl that pods may set.
func allowedSysctl(name string, unsafe []string) (sysctl.Namespace, bool) {
	for _, pattern := range slices.Concat(safeSysctls, unsafe) {
		ns, allowed, prefix := sysctl.GetNamespace(pattern)
		if name == allowed || prefix && strings.HasPrefix(name, allowed) {
			return ns, true
		}
	}
	return sysctl.UnknownNamespace, false
}
