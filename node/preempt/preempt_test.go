package preempt

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// pod makes one that requests cpu and memory, "" for none; limits equal to them if guaranteed.
func pod(name, cpu, memory string, guaranteed bool, priority int32) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Spec.Priority = name, &priority
	list := corev1.ResourceList{}
	if cpu != "" {
		list[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	r := corev1.ResourceRequirements{Requests: list}
	if guaranteed {
		r.Limits = list
	}
	p.Spec.Containers = []corev1.Container{{Resources: r}}
	return p
}

var critical = pod("critical", "", "", false, 2_000_000_000)

func TestVictims(t *testing.T) {
	best := pod("best", "", "", false, 0)
	burst := pod("burst", "100m", "100Mi", false, 0)
	bigBurst := pod("big-burst", "300m", "300Mi", false, 0)
	guar := pod("guar", "100m", "100Mi", true, 0)
	bigGuar := pod("big-guar", "300m", "300Mi", true, 0)
	other := pod("other-critical", "500m", "500Mi", true, 2_000_000_000)
	all := []*corev1.Pod{best, burst, bigBurst, guar, bigGuar, other}
	for _, tc := range []struct {
		name  string
		needs []Need
		want  string
	}{
		{"nothing", nil, ""},
		{"a place: the besteffort pod's", []Need{{corev1.ResourcePods, 1}}, "best"},
		{"the smallest that does", []Need{{corev1.ResourceMemory, 50 << 20}}, "burst"},
		{"one rather than two", []Need{{corev1.ResourceCPU, 250}}, "big-burst"},
		{"burstable before guaranteed", []Need{{corev1.ResourceCPU, 400}}, "big-burst burst"},
		{"guaranteed only for what others lack", []Need{{corev1.ResourceCPU, 500}}, "big-burst burst guar"},
		{"two resources", []Need{{corev1.ResourceCPU, 100}, {corev1.ResourceMemory, 300 << 20}}, "big-burst"},
		{"everybody that may", []Need{{corev1.ResourceCPU, 800}}, "big-burst burst big-guar guar"},
	} {
		got, err := Victims(critical, all, tc.needs)
		var names []string
		for _, p := range got {
			names = append(names, p.Name)
		}
		if text := strings.Join(names, " "); err != nil || text != tc.want {
			t.Errorf("%s: got %q, %v; want %q", tc.name, text, err, tc.want)
		}
	}
	_, err := Victims(critical, all, []Need{{corev1.ResourceCPU, 900}})
	if want := "no set of running pods found to reclaim resources: [(res: cpu, q: 100), ]"; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
