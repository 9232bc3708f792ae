package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/cgroups"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/component-helpers/resource"

	"clipper/node/kubeletconfig"
	"clipper/node/priority"
	"clipper/node/runtime"
)

// The scale of CPU settings, and their bounds in the kernel.
const (
	sharesPerCPU = 1024
	minShares    = 2
	maxShares    = 262144
	minQuota     = 1000 // µs
)

// Settings are what a node has decided about the control groups of all its pods. The zero value limits CPU
// in periods of the length that the kernel has, and neither processes nor swap.
type Settings struct {
	Memory      int64 // of the node, bytes
	Unlimited   bool  // CPU limits are not enforced
	Period      time.Duration
	PIDs        int64 // of each pod; 0: no limit
	HugePages   []string
	Swap        int64 // of the node, bytes
	LimitsSwap  bool  // the machine can limit it
	Unified     bool  // control groups are of version 2
	LimitedSwap bool  // burstable containers get some
	OOMGroup    bool  // a container that runs out of memory is killed as a whole
}

// defaultPeriod is the kernel's and upstream's.
const defaultPeriod = 100 * time.Millisecond

// Settings returns what a node's configuration says of its pods' groups, as far as this machine can do it.
func (t *Tree) Settings(c *kubeletconfig.Configuration, memory, swap int64) (Settings, error) {
	s := Settings{Memory: memory, Swap: swap, Unified: t.v2, Unlimited: !*c.CPUCFSQuota, Period: c.CPUCFSQuotaPeriod.Duration,
		PIDs: max(*c.PodPidsLimit, 0), LimitedSwap: c.MemorySwap.SwapBehavior == "LimitedSwap"}
	if swap > 0 && *c.FailSwapOn {
		return s, errors.New("running with swap on is not supported, please disable swap or set --fail-swap-on flag to false")
	}
	if *c.FailCgroupV1 && !t.v2 {
		return s, errors.New("kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release")
	}
	if one := c.SingleProcessOOMKill; one != nil && !*one && !t.v2 {
		return s, errors.New("invalid configuration: singleProcessOOMKill must not be explicitly set to false when using cgroup v1")
	}
	s.OOMGroup = t.v2 && (c.SingleProcessOOMKill == nil || !*c.SingleProcessOOMKill)
	if s.LimitedSwap && !t.v2 {
		return s, errors.New("swap feature is enabled and LimitedSwap but it is only supported with cgroupv2")
	}
	if t.Dir("hugetlb", "/") != "" {
		s.HugePages = cgroups.HugePageSizes()
	}
	s.LimitsSwap = t.v2 && t.Dir("memory", "/") != ""
	if !t.v2 && swap > 0 {
		_, err := os.Stat(filepath.Join(t.Dir("memory", "/"), "memory.memsw.limit_in_bytes"))
		s.LimitsSwap = err == nil
	}
	return s, nil
}

// Pod returns the settings of the pod's group as a whole. Limits apply only where every container has one or
// the pod has its own: otherwise the pod as a whole has none.
func (s Settings) Pod(pod *corev1.Pod) runtime.Resources {
	req := resource.PodRequests(pod, resource.PodResourcesOptions{})
	limited := map[corev1.ResourceName]bool{corev1.ResourceCPU: true, corev1.ResourceMemory: true}
	lim := resource.PodLimits(pod, resource.PodResourcesOptions{ContainerFn: func(l corev1.ResourceList, _ resource.ContainerType) {
		for n := range limited {
			if q := l[n]; q.IsZero() {
				limited[n] = false
			}
		}
	}})
	for n, q := range podLimits(pod) {
		limited[n] = limited[n] || !q.IsZero()
	}
	r := runtime.Resources{CPUShares: shares(req.Cpu().MilliValue()), PidsLimit: s.PIDs, HugepageLimit: s.podHugePages(req)}
	if req.Cpu().IsZero() && !lim.Cpu().IsZero() {
		r.CPUShares = shares(lim.Cpu().MilliValue())
	}
	if limited[corev1.ResourceCPU] {
		r.CPUQuota, r.CPUPeriod = s.quota(lim.Cpu().MilliValue())
	}
	if limited[corev1.ResourceMemory] {
		r.MemoryLimit = lim.Memory().Value()
	}
	return r
}

// podLimits returns the limits of the pod itself, if it has any.
func podLimits(pod *corev1.Pod) corev1.ResourceList {
	if pod.Spec.Resources == nil {
		return nil
	}
	return pod.Spec.Resources.Limits
}

// podHugePages limits the pod as a whole to what it has asked for.
func (s Settings) podHugePages(requests corev1.ResourceList) map[string]int64 {
	if len(s.HugePages) == 0 {
		return nil
	}
	out := map[string]int64{}
	for name, q := range requests {
		if size, ok := hugepage(name); ok {
			out[size] = q.Value()
		}
	}
	return out
}

// Container returns the settings of one container. What it has no limit for, the pod as a whole may have.
func (s Settings) Container(pod *corev1.Pod, c *corev1.Container) runtime.Resources {
	limit := func(name corev1.ResourceName) apiresource.Quantity {
		if q := c.Resources.Limits[name]; !q.IsZero() {
			return q
		}
		return podLimits(pod)[name]
	}
	cpu, memory := limit(corev1.ResourceCPU), limit(corev1.ResourceMemory)
	req, asked := c.Resources.Requests[corev1.ResourceCPU]
	if !asked {
		req = cpu
	}
	r := runtime.Resources{
		CPUShares:     shares(req.MilliValue()),
		MemoryLimit:   memory.Value(),
		OOMScoreAdj:   OOMScore(pod, c, s.Memory),
		HugepageLimit: s.hugePages(pod, c),
		SwapLimit:     s.swap(pod, c, memory.Value()),
		OOMGroup:      s.OOMGroup,
	}
	r.CPUQuota, r.CPUPeriod = s.quota(cpu.MilliValue())
	return r
}

// hugePages limits each size that the machine has: to nothing, unless there is a limit.
func (s Settings) hugePages(pod *corev1.Pod, c *corev1.Container) map[string]int64 {
	if len(s.HugePages) == 0 {
		return nil
	}
	out := map[string]int64{}
	for _, size := range s.HugePages {
		out[size] = 0
	}
	for _, limits := range []corev1.ResourceList{podLimits(pod), c.Resources.Limits} {
		for name, q := range limits {
			if size, ok := hugepage(name); ok {
				out[size] = q.Value()
			}
		}
	}
	return out
}

// swap returns how much swap a container may have; nil where that cannot be limited. Burstable containers get
// as large a share of the node's swap as they have asked for of its memory, if the node gives any. Version 1
// limits only the sum of both.
func (s Settings) swap(pod *corev1.Pod, c *corev1.Container, memory int64) *int64 {
	if !s.LimitsSwap || !s.Unified && memory == 0 {
		return nil
	}
	none := int64(0)
	req, lim := c.Resources.Requests.Memory(), c.Resources.Limits.Memory()
	if !s.LimitedSwap || priority.Critical(pod) || QOS(pod) != corev1.PodQOSBurstable || req.Cmp(*lim) == 0 ||
		s.Memory <= 0 || req.Value() > s.Memory {
		return &none
	}
	share := int64(float64(req.Value()) / float64(s.Memory) * float64(s.Swap))
	return &share
}

// hugepage returns the size of a resource such as hugepages-2Mi as the kernel names it: 2MB.
func hugepage(n corev1.ResourceName) (size string, ok bool) {
	p := corev1.ResourceHugePagesPrefix
	if len(n) <= len(p) || string(n[:len(p)]) != p {
		return "", false
	}
	q, err := apiresource.ParseQuantity(string(n[len(p):]))
	if err != nil || q.Value() < 1024 {
		return "", false
	}
	bytes, unit := q.Value()/1024, 0
	for units := []string{"KB", "MB", "GB", "TB"}; ; unit++ {
		if bytes%1024 != 0 || unit == len(units)-1 {
			return fmt.Sprintf("%d%s", bytes, units[unit]), true
		}
		bytes /= 1024
	}
}

func shares(milli int64) uint64 {
	return uint64(min(max(milli*sharesPerCPU/1000, minShares), maxShares))
}

func (s Settings) quota(milli int64) (q int64, period uint64) {
	if milli <= 0 || s.Unlimited {
		return 0, 0
	}
	length := s.Period
	if length == 0 {
		length = defaultPeriod
	}
	us := length.Microseconds()
	return max(milli*us/1000, minQuota), uint64(us)
}
