package cgroup

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"clipper/node/kubeletconfig"
)

func burstable(req, lim corev1.ResourceList) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: req, Limits: lim}}}
	return pod
}

func TestQuotaOfOtherPeriods(t *testing.T) {
	pod := burstable(nil, list("500m", ""))
	for _, tc := range []struct {
		s      Settings
		quota  int64
		period uint64
	}{
		{Settings{}, 50_000, 100_000},
		{Settings{Period: 10 * time.Millisecond}, 5_000, 10_000},
		{Settings{Period: time.Millisecond}, 1_000, 1_000}, // the kernel's least
		{Settings{Unlimited: true}, 0, 0},
	} {
		for what, r := range map[string]struct {
			q int64
			p uint64
		}{"container": {tc.s.Container(pod, &pod.Spec.Containers[0]).CPUQuota, tc.s.Container(pod, &pod.Spec.Containers[0]).CPUPeriod},
			"pod": {tc.s.Pod(pod).CPUQuota, tc.s.Pod(pod).CPUPeriod}} {
			if r.q != tc.quota || r.p != tc.period {
				t.Errorf("%+v: %s gets %d of %d, want %d of %d", tc.s, what, r.q, r.p, tc.quota, tc.period)
			}
		}
	}
}

func TestPodLevelLimits(t *testing.T) {
	pod := burstable(list("100m", "64Mi"), nil)
	pod.Spec.Resources = &corev1.ResourceRequirements{Limits: list("", "256Mi")}
	s := Settings{}
	if r := s.Pod(pod); r.MemoryLimit != 256<<20 || r.CPUQuota != 0 {
		t.Errorf("the pod gets %+v, want its own memory limit and no CPU limit", r)
	}
	if r := s.Container(pod, &pod.Spec.Containers[0]); r.MemoryLimit != 256<<20 {
		t.Errorf("a container without a limit gets %d, want the pod's", r.MemoryLimit)
	}
}

func TestSwap(t *testing.T) {
	v2 := Settings{Memory: 4 << 30, Swap: 2 << 30, LimitsSwap: true, Unified: true}
	lim := v2
	lim.LimitedSwap = true
	v1 := Settings{Memory: 4 << 30, Swap: 2 << 30, LimitsSwap: true}
	critical := burstable(list("", "1Gi"), nil)
	critical.Spec.Priority = ptr.To[int32](2_000_000_000)
	for name, tc := range map[string]struct {
		s    Settings
		pod  *corev1.Pod
		want *int64
	}{
		"cannot be limited":                {Settings{Memory: 4 << 30}, burstable(list("", "1Gi"), nil), nil},
		"none by default":                  {v2, burstable(list("", "1Gi"), nil), ptr.To[int64](0)},
		"a share as large as memory's":     {lim, burstable(list("", "1Gi"), nil), ptr.To[int64](512 << 20)},
		"besteffort gets none":             {lim, burstable(nil, nil), ptr.To[int64](0)},
		"guaranteed gets none":             {lim, burstable(list("1", "1Gi"), list("1", "1Gi")), ptr.To[int64](0)},
		"request equal to limit gets none": {lim, burstable(list("", "1Gi"), list("", "1Gi")), ptr.To[int64](0)},
		"critical gets none":               {lim, critical, ptr.To[int64](0)},
		"version 1 without a limit":        {v1, burstable(list("", "1Gi"), nil), nil},
		"version 1 with a limit":           {v1, burstable(list("", "1Gi"), list("", "2Gi")), ptr.To[int64](0)},
	} {
		got := tc.s.Container(tc.pod, &tc.pod.Spec.Containers[0]).SwapLimit
		if (got == nil) != (tc.want == nil) || got != nil && *got != *tc.want {
			t.Errorf("%s: got %v, want %v", name, ptr.Deref(got, -1), ptr.Deref(tc.want, -1))
		}
	}
}

func TestHugePages(t *testing.T) {
	for name, want := range map[corev1.ResourceName]string{"hugepages-2Mi": "2MB", "hugepages-1Gi": "1GB", "hugepages-64Ki": "64KB", "hugepages-x": "", "hugepages-": "", "cpu": "", "hugepages-1": ""} {
		if got, ok := hugepage(name); got != want || ok != (want != "") {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	two := corev1.ResourceList{"hugepages-2Mi": resource.MustParse("4Mi")}
	pod := burstable(two, two)
	s := Settings{HugePages: []string{"2MB", "1GB"}}
	if got, want := s.Container(pod, &pod.Spec.Containers[0]).HugepageLimit, map[string]int64{"2MB": 4 << 20, "1GB": 0}; !maps.Equal(got, want) {
		t.Errorf("container: got %v, want %v", got, want)
	}
	if got, want := s.Pod(pod).HugepageLimit, map[string]int64{"2MB": 4 << 20}; !maps.Equal(got, want) {
		t.Errorf("pod: got %v, want %v", got, want)
	}
	if got := (Settings{}).Container(pod, &pod.Spec.Containers[0]).HugepageLimit; got != nil {
		t.Errorf("without the controller: got %v", got)
	}
}

func TestSettingsOfAConfiguration(t *testing.T) {
	c := kubeletconfig.Default()
	c.PodPidsLimit, c.CPUCFSQuota = ptr.To[int64](100), ptr.To(false)
	s, err := (&Tree{v2: true}).Settings(c, 1<<30, 0)
	if err != nil || s.PIDs != 100 || !s.Unlimited || s.Memory != 1<<30 {
		t.Errorf("got %+v, %v", s, err)
	}
	if got := s.Pod(burstable(nil, nil)).PidsLimit; got != 100 {
		t.Errorf("a pod may have %d processes", got)
	}
	c.MemorySwap.SwapBehavior = "LimitedSwap"
	if _, err := (&Tree{}).Settings(c, 1<<30, 0); err == nil {
		t.Error("swap for pods on version 1 is not refused")
	}
	c = kubeletconfig.Default()
	c.FailSwapOn = ptr.To(true)
	if _, err := (&Tree{v2: true}).Settings(c, 1<<30, 1); err == nil {
		t.Error("swap is not refused")
	}
}
