package pod

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"clipper/api/containers"
	"clipper/catalogue/rule"
)

var statusPath = field.NewPath("status")

func validateStatus(p, old *corev1.Pod) field.ErrorList {
	f := &rule.Faults{}
	annotationUpdates(f, p, old)
	s, was := &p.Status, &old.Status
	conditions(f, s.Conditions)
	if s.NominatedNodeName != was.NominatedNodeName && s.NominatedNodeName != "" {
		f.DNSSubdomain(statusPath.Child("nominatedNodeName"), s.NominatedNodeName)
		if old.Spec.NodeName != "" {
			f.Forbidden(statusPath.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node")
		}
	}
	if s.ObservedGeneration < 0 {
		f.Invalid(statusPath.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer")
	}
	f.Unchanged(statusPath.Child("qosClass"), s.QOSClass, was.QOSClass)
	transitions(f, s.ContainerStatuses, was.ContainerStatuses, old.Spec.Containers, &old.Spec, statusPath.Child("containerStatuses"))
	transitions(f, s.InitContainerStatuses, was.InitContainerStatuses, old.Spec.InitContainers, &old.Spec, statusPath.Child("initContainerStatuses"))
	transitions(f, s.EphemeralContainerStatuses, was.EphemeralContainerStatuses, nil, nil, statusPath.Child("ephemeralContainerStatuses"))
	claimStatuses(f, p)
	extendedClaim(f, s.ExtendedResourceClaimStatus, &p.Spec, statusPath.Child("extendedResourceClaimStatus"))
	addresses(f, ips(s.PodIPs), ips(was.PodIPs), s.PodIPs, statusPath.Child("podIPs"))
	if len(s.HostIPs) > 0 && s.HostIP != s.HostIPs[0].IP {
		f.Invalid(statusPath.Child("hostIPs").Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`")
	}
	addresses(f, hostIPs(s.HostIPs), hostIPs(was.HostIPs), s.HostIPs, statusPath.Child("hostIPs"))
	users(f, s.ContainerStatuses, p.Spec.OS, statusPath.Child("containerStatuses"))
	users(f, s.InitContainerStatuses, p.Spec.OS, statusPath.Child("initContainerStatuses"))
	users(f, s.EphemeralContainerStatuses, p.Spec.OS, statusPath.Child("ephemeralContainerStatuses"))
	health(f, s.ContainerStatuses, p.Spec.Containers, statusPath.Child("containerStatuses"))
	health(f, s.InitContainerStatuses, p.Spec.InitContainers, statusPath.Child("initContainerStatuses"))
	noHealth(f, s.EphemeralContainerStatuses, statusPath.Child("ephemeralContainerStatuses"))
	return f.List
}

func conditions(f *rule.Faults, list []corev1.PodCondition) {
	for i, c := range list {
		at := statusPath.Child("conditions").Index(i)
		if c.ObservedGeneration < 0 {
			f.Invalid(at.Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer")
		}
		switch c.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			f.QualifiedName(at.Child("Type"), string(c.Type))
		}
	}
}

// transitions refuses to bring a container back that its policy leaves ended. Without a spec none comes back.
func transitions(f *rule.Faults, is, was []corev1.ContainerStatus, containers []corev1.Container, spec *corev1.PodSpec, at *field.Path) {
	if spec != nil && anyRestartsAll(spec) {
		return
	}
	for i, old := range was {
		if old.State.Terminated == nil {
			continue
		}
		j := slices.IndexFunc(is, func(s corev1.ContainerStatus) bool { return s.Name == old.Name })
		if j < 0 || is[j].State.Terminated != nil {
			continue
		}
		k := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == old.Name })
		if k < 0 || !restarts(&containers[k], spec, old.State.Terminated.ExitCode) {
			f.Forbidden(at.Index(i).Child("state"), "may not be transitioned to non-terminated state")
		}
	}
}

func anyRestartsAll(spec *corev1.PodSpec) bool {
	for c := range containers.Of(spec) {
		for _, r := range c.RestartPolicyRules {
			if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

// restarts says whether a container that ended with a code is started again: its own rules first, then
// its own policy, then the pod's.
func restarts(c *corev1.Container, spec *corev1.PodSpec, code int32) bool {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes == nil || r.Action != corev1.ContainerRestartRuleActionRestart {
			continue
		}
		if in := slices.Contains(r.ExitCodes.Values, code); in == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return true
		}
	}
	if c.RestartPolicy != nil {
		switch *c.RestartPolicy {
		case corev1.ContainerRestartPolicyAlways:
			return true
		case corev1.ContainerRestartPolicyOnFailure:
			return code != 0
		}
		return false
	}
	switch spec.RestartPolicy {
	case corev1.RestartPolicyAlways:
		return true
	case corev1.RestartPolicyOnFailure:
		return code != 0
	}
	return false
}

func claimStatuses(f *rule.Faults, p *corev1.Pod) {
	names := rule.Seen[string]{}
	for i, s := range p.Status.ResourceClaimStatuses {
		at := statusPath.Child("resourceClaimStatuses").Index(i)
		if !slices.ContainsFunc(p.Spec.ResourceClaims, func(c corev1.PodResourceClaim) bool { return c.Name == s.Name }) {
			f.Invalid(at.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`")
		}
		if names.Again(s.Name) {
			f.Duplicate(at.Child("name"), s.Name)
		}
		if s.ResourceClaimName != nil {
			f.DNSSubdomain(at.Child("resourceClaimName"), *s.ResourceClaimName)
		}
	}
}

func ips(list []corev1.PodIP) (out []string) {
	for _, ip := range list {
		out = append(out, ip.IP)
	}
	return out
}

func hostIPs(list []corev1.HostIP) (out []string) {
	for _, ip := range list {
		out = append(out, ip.IP)
	}
	return out
}

func addresses(f *rule.Faults, is, was []string, value any, at *field.Path) {
	for i, ip := range is {
		f.IP(at.Index(i), ip, was...)
	}
	if len(is) < 2 {
		return
	}
	dual, err := netutils.IsDualStackIPStrings(is)
	if err != nil {
		f.Add(field.InternalError(at, fmt.Errorf("failed to check for dual stack with error:%v", err)))
	}
	if !dual || len(is) > 2 {
		f.Invalid(at, value, "may specify no more than one IP for each IP family")
	}
}

// users checks as whom node agents say that containers run.
func users(f *rule.Faults, list []corev1.ContainerStatus, os *corev1.PodOS, at *field.Path) {
	windows := os != nil && os.Name == corev1.Windows
	for i, s := range list {
		at := at.Index(i).Child("user", "linux")
		switch {
		case s.User == nil || s.User.Linux == nil:
		case windows:
			f.Forbidden(at, "cannot be set for a windows pod")
		case os == nil || os.Name == corev1.Linux:
			f.Each(at.Child("uid"), s.User.Linux.UID, validation.IsValidUserID(s.User.Linux.UID))
			f.Each(at.Child("gid"), s.User.Linux.GID, validation.IsValidGroupID(s.User.Linux.GID))
			for j, group := range s.User.Linux.SupplementalGroups {
				f.Each(at.Child("supplementalGroups").Index(j), group, validation.IsValidGroupID(group))
			}
		}
	}
}
