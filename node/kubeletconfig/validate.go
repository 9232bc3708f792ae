package kubeletconfig

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/component-helpers/node/util/sysctl"
	"k8s.io/kubelet/config/v1beta1"
)

// A rule is a condition that settings must meet, and upstream's words for one that do not.
type rule struct {
	ok      bool
	message string
	args    []any
}

// validate returns every fault of completed settings at once. The words are upstream's.
func validate(c *Configuration) error {
	var faults []error
	for _, s := range c.AllowedUnsafeSysctls {
		if ns, name, _ := sysctl.GetNamespace(s); ns == sysctl.UnknownNamespace {
			faults = append(faults, fmt.Errorf("the sysctls %q are not known to be namespaced", name))
		}
	}
	for _, r := range slices.Concat(rules(c), serverRules(c), imageRules(c), verificationRules(c), memoryRules(c), reservationRules(c)) {
		if !r.ok {
			faults = append(faults, fmt.Errorf("invalid configuration: "+r.message, r.args...))
		}
	}
	return errors.Join(append(faults, checkEviction(c))...)
}

// perPod returns how many users a pod with a user namespace has.
func perPod(c *Configuration) int64 {
	if c.UserNamespaces == nil || c.UserNamespaces.IDsPerPod == nil {
		return usersUnit
	}
	return *c.UserNamespaces.IDsPerPod
}

// usersUnit is what their number is a multiple of.
const usersUnit = 65536

func rules(c *Configuration) []rule {
	period, restart := c.CPUCFSQuotaPeriod.Duration, c.CrashLoopBackOff.MaxContainerRestartPeriod.Duration
	topology := []string{v1beta1.NoneTopologyManagerPolicy, v1beta1.BestEffortTopologyManagerPolicy, v1beta1.RestrictedTopologyManagerPolicy, v1beta1.SingleNumaNodeTopologyManagerPolicy}
	return []rule{
		{c.MaxPods >= 0, "maxPods (--max-pods) %v must not be a negative number", []any{c.MaxPods}},
		{c.PodsPerCore >= 0, "podsPerCore (--pods-per-core) %v must not be a negative number", []any{c.PodsPerCore}},
		{c.NodeLeaseDurationSeconds > 0, "nodeLeaseDurationSeconds must be greater than 0", nil},
		{*c.NodeStatusMaxImages >= -1, "nodeStatusMaxImages (--node-status-max-images) %v must be -1 or greater", []any{*c.NodeStatusMaxImages}},
		{period >= time.Millisecond && period <= time.Second, "cpuCFSQuotaPeriod (--cpu-cfs-quota-period) %v must be between 1ms and 1sec, inclusive", []any{*c.CPUCFSQuotaPeriod}},
		{one(c.TopologyManagerPolicy, topology...), "topologyManagerPolicy (--topology-manager-policy) %q must be one of: %q", []any{c.TopologyManagerPolicy, topology}},
		{one(c.TopologyManagerScope, v1beta1.ContainerTopologyManagerScope, v1beta1.PodTopologyManagerScope), "topologyManagerScope (--topology-manager-scope) %q must be one of: %q, or %q", []any{c.TopologyManagerScope, v1beta1.ContainerTopologyManagerScope, v1beta1.PodTopologyManagerScope}},
		{one(c.MemorySwap.SwapBehavior, "", "NoSwap", "LimitedSwap"), "memorySwap.swapBehavior %q must be one of: \"\", %q or %q", []any{c.MemorySwap.SwapBehavior, "LimitedSwap", "NoSwap"}},
		{c.ShutdownGracePeriodCriticalPods.Duration <= c.ShutdownGracePeriod.Duration, "shutdownGracePeriodCriticalPods %v must be <= shutdownGracePeriod %v", []any{c.ShutdownGracePeriodCriticalPods, c.ShutdownGracePeriod}},
		{zeroOrSecond(c.ShutdownGracePeriod.Duration), "shutdownGracePeriod %v must be either zero or otherwise >= 1 sec", []any{c.ShutdownGracePeriod}},
		{zeroOrSecond(c.ShutdownGracePeriodCriticalPods.Duration), "shutdownGracePeriodCriticalPods %v must be either zero or otherwise >= 1 sec", []any{c.ShutdownGracePeriodCriticalPods}},
		{restart >= time.Second && restart <= 300*time.Second, "CrashLoopBackOff.MaxContainerRestartPeriod (got: %v seconds) must be set between 1s and 300s", []any{restart.Seconds()}},
		{c.PodLogsDir == "" || filepath.IsAbs(c.PodLogsDir), "pod logs path %q must be absolute path", []any{c.PodLogsDir}},
		{c.PodLogsDir == "" || filepath.Clean(c.PodLogsDir) == c.PodLogsDir, "pod logs path %q must be normalized", []any{c.PodLogsDir}},
		{*c.ContainerLogMaxWorkers >= 1, "containerLogMaxWorkers must be greater than or equal to 1", nil},
		{c.ContainerLogMonitorInterval.Duration >= 3*time.Second, "containerLogMonitorInterval must be a positive time duration greater than or equal to 3s", nil},
		{*c.ContainerLogMaxFiles >= 2, "containerLogMaxFiles must be greater than 1", nil},
		{perPod(c) >= usersUnit, "userNamespaces.idsPerPod must not be less than %d", []any{usersUnit}},
		{perPod(c) <= math.MaxUint32, "userNamespaces.idsPerPod must not be more than %d", []any{uint32(math.MaxUint32)}},
		{perPod(c)%usersUnit == 0, "userNamespaces.idsPerPod must be a multiple of %d", []any{usersUnit}},
		{!c.RunOnce, "runOnce (--runOnce) %v, Runonce mode has been deprecated and should not be set", []any{c.RunOnce}},
	}
}

// serverRules are about what the node serves, and how it registers.
func serverRules(c *Configuration) []rule {
	out := []rule{
		{*c.HealthzPort == 0 || isPort(*c.HealthzPort), "healthzPort (--healthz-port) %v must be between 1 and 65535, inclusive", []any{*c.HealthzPort}},
		{isPort(c.Port), "port (--port) %v must be between 1 and 65535, inclusive", []any{c.Port}},
		{c.ReadOnlyPort == 0 || isPort(c.ReadOnlyPort), "readOnlyPort (--read-only-port) %v must be between 0 and 65535, inclusive", []any{c.ReadOnlyPort}},
	}
	for _, t := range c.RegisterWithTaints {
		out = append(out, rule{len(validation.IsQualifiedName(t.Key)) == 0 && (t.Value == "" || len(validation.IsValidLabelValue(t.Value)) == 0) &&
			one(string(t.Effect), "NoSchedule", "PreferNoSchedule", "NoExecute"), "taint %v", []any{t.ToString()}},
			rule{t.TimeAdded == nil, "taint.TimeAdded is not nil", nil})
	}
	return out
}

func isPort(n int32) bool { return n >= 1 && n <= 65535 }

func imageRules(c *Configuration) []rule {
	high, low := *c.ImageGCHighThresholdPercent, *c.ImageGCLowThresholdPercent
	oldest, youngest := c.ImageMaximumGCAge.Duration, c.ImageMinimumGCAge.Duration
	parallel := int32(1)
	if c.MaxParallelImagePulls != nil {
		parallel = *c.MaxParallelImagePulls
	}
	return []rule{
		{percent(high), "imageGCHighThresholdPercent (--image-gc-high-threshold) %v must be between 0 and 100, inclusive", []any{high}},
		{percent(low), "imageGCLowThresholdPercent (--image-gc-low-threshold) %v must be between 0 and 100, inclusive", []any{low}},
		{low < high, "imageGCLowThresholdPercent (--image-gc-low-threshold) %v must be less than imageGCHighThresholdPercent (--image-gc-high-threshold) %v", []any{low, high}},
		{youngest >= 0, "imageMinimumGCAge %v must not be negative", []any{youngest}},
		{oldest >= 0, "imageMaximumGCAge %v must not be negative", []any{oldest}},
		{oldest <= 0 || oldest > youngest, "imageMaximumGCAge %v must be greater than imageMinimumGCAge %v", []any{oldest, youngest}},
		{parallel >= 1, "maxParallelImagePulls %v must be a positive number", []any{parallel}},
		{!*c.SerializeImagePulls || parallel <= 1, "maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls (--serialize-image-pulls) is set to false", nil},
		{c.RegistryBurst >= 0, "registryBurst (--registry-burst) %v must not be a negative number", []any{c.RegistryBurst}},
		{*c.RegistryPullQPS >= 0, "registryPullQPS (--registry-qps) %v must not be a negative number", []any{*c.RegistryPullQPS}},
	}
}

func one(value string, of ...string) bool { return slices.Contains(of, value) }

func percent(v int32) bool { return v >= 0 && v <= 100 }

func zeroOrSecond(d time.Duration) bool { return d == 0 || d >= time.Second }
