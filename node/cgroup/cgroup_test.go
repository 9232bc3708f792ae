package cgroup

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func list(cpu, memory string) corev1.ResourceList {
	l := corev1.ResourceList{}
	if cpu != "" {
		l[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

func TestOnePodOneContainer(t *testing.T) {
	const memory = 4 << 30
	for _, tc := range []struct {
		name       string
		req, lim   corev1.ResourceList
		parent     string
		shares     uint64
		quota      int64
		limit      int64
		oom        int
		podLimit   int64
		podShares  uint64
		podQuotaUs int64
	}{
		{"best effort", nil, nil, "/k/besteffort/podu", 2, 0, 0, 1000, 0, 2, 0},
		{"guaranteed", list("500m", "1Gi"), list("500m", "1Gi"), "/k/podu", 512, 50_000, 1 << 30, -997, 1 << 30, 512, 50_000},
		{"guaranteed by limits, which the API takes for requests too", list("1", "1Gi"), list("1", "1Gi"), "/k/podu", 1024, 100_000, 1 << 30, -997, 1 << 30, 1024, 100_000},
		{"burstable", list("100m", "1Gi"), nil, "/k/burstable/podu", 102, 0, 0, 750, 0, 102, 0},
		{"tiny quota", nil, list("1m", ""), "/k/burstable/podu", 2, 1000, 0, 999, 0, 2, 1000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			pod := &corev1.Pod{}
			pod.UID = "u"
			pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: tc.req, Limits: tc.lim}}}
			if got := Parent("/k", pod); got != tc.parent {
				t.Errorf("Parent = %s, want %s", got, tc.parent)
			}
			s := Settings{Memory: memory}
			r := s.Container(pod, &pod.Spec.Containers[0])
			if r.CPUShares != tc.shares || r.CPUQuota != tc.quota || r.MemoryLimit != tc.limit || r.OOMScoreAdj != tc.oom {
				t.Errorf("Container = %+v", r)
			}
			p := s.Pod(pod)
			if p.MemoryLimit != tc.podLimit || p.CPUShares != tc.podShares || p.CPUQuota != tc.podQuotaUs {
				t.Errorf("Pod = %+v", p)
			}
		})
	}
}
