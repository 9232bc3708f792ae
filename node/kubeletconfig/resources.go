package kubeletconfig

import (
	"fmt"
	"slices"

	"k8s.io/utils/cpuset"

	"clipper/node/eviction/threshold"
)

// The values of enforceNodeAllocatable.
const (
	enforcePods   = "pods"
	enforceNone   = "none"
	enforceSystem = "system-reserved"
	enforceKube   = "kube-reserved"
	compressible  = "-compressible"
)

// reservationRules are those of what is kept from pods, and of what pods are kept to.
func reservationRules(c *Configuration) []rule {
	out := []rule{
		{c.ReservedSystemCPUs == "" || c.SystemReservedCgroup == "" && c.KubeReservedCgroup == "", "can't use reservedSystemCPUs (--reserved-cpus) with systemReservedCgroup (--system-reserved-cgroup) or kubeReservedCgroup (--kube-reserved-cgroup)", nil},
		{len(c.ShutdownGracePeriodByPodPriority) == 0 || c.ShutdownGracePeriod.Duration <= 0 && c.ShutdownGracePeriodCriticalPods.Duration <= 0, "Cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time", nil},
	}
	_, err := cpuset.Parse(c.ReservedSystemCPUs)
	out = append(out, rule{err == nil, "unable to parse reservedSystemCPUs (--reserved-cpus) %v, error: %v", []any{c.ReservedSystemCPUs, err}})
	all := c.EnforceNodeAllocatable
	for _, kind := range []string{enforceSystem, enforceKube} {
		out = append(out, rule{!slices.Contains(all, kind) || !slices.Contains(all, kind+compressible),
			"both %q and %q cannot be specified together in enforceNodeAllocatable (--enforce-node-allocatable)", []any{kind, kind + compressible}})
	}
	for i, value := range all {
		if slices.Contains(all[:i], value) {
			out = append(out, rule{false, "duplicated enforcements %q in enforceNodeAllocatable (--enforce-node-allocatable)", []any{value}})
			continue
		}
		out = append(out, enforcementRule(c, value), rule{value == enforceNone || !known(value) || *c.CgroupsPerQOS,
			"cgroupsPerQOS (--cgroups-per-qos) must be set to true when %q contained in enforceNodeAllocatable (--enforce-node-allocatable)", []any{value}})
	}
	return out
}

func known(enforcement string) bool {
	return slices.Contains([]string{enforcePods, enforceNone, enforceSystem, enforceKube, enforceSystem + compressible, enforceKube + compressible}, enforcement)
}

// enforcementRule is what one value of enforceNodeAllocatable asks of the others.
func enforcementRule(c *Configuration, value string) rule {
	const missing = "%s must be specified when %q or %q included in enforceNodeAllocatable (--enforce-node-allocatable)"
	switch value {
	case enforceSystem, enforceSystem + compressible:
		return rule{c.SystemReservedCgroup != "", missing, []any{"systemReservedCgroup (--system-reserved-cgroup)", enforceSystem, enforceSystem + compressible}}
	case enforceKube, enforceKube + compressible:
		return rule{c.KubeReservedCgroup != "", missing, []any{"kubeReservedCgroup (--kube-reserved-cgroup)", enforceKube, enforceKube + compressible}}
	case enforceNone:
		return rule{len(c.EnforceNodeAllocatable) == 1, "enforceNodeAllocatable (--enforce-node-allocatable) may not contain additional enforcements when %q is specified", []any{enforceNone}}
	}
	return rule{known(value), "option %q specified for enforceNodeAllocatable (--enforce-node-allocatable). Valid options are %q, %q, %q, %q, %q or %q",
		[]any{value, enforcePods, enforceSystem, enforceSystem + compressible, enforceKube, enforceKube + compressible, enforceNone}}
}

// checkEviction returns what is wrong with the settings that say when pods are evicted. A kubelet finds out only
// when it starts to use them.
func checkEviction(c *Configuration) error {
	_, err := threshold.Parse(threshold.Settings{Hard: c.EvictionHard, Soft: c.EvictionSoft, SoftGrace: c.EvictionSoftGracePeriod, MinReclaim: c.EvictionMinimumReclaim})
	if err != nil {
		return fmt.Errorf("eviction settings: %w", err)
	}
	return nil
}
