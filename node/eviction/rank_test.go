package eviction

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"clipper/diskusage"
	"clipper/node/eviction/threshold"
)

func quantities(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return l
}

func newPod(name string, priority int32, requests corev1.ResourceList) *corev1.Pod {
	p := &corev1.Pod{}
	p.Name, p.Spec.Priority = name, &priority
	p.Spec.Containers = []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{Requests: requests}}}
	return p
}

const mi = 1 << 20

// using gives a container mem MiB of memory, files of disk MiB in its root file system, and processes.
func using(mem, disk, processes int64) *Usage {
	return &Usage{Memory: mem * mi, Processes: processes, Containers: []ContainerUsage{{Name: "c", Memory: mem * mi, Rootfs: diskusage.Usage{Bytes: disk * mi, Inodes: disk}}}}
}

func TestRank(t *testing.T) {
	request := quantities("memory", "100Mi", "ephemeral-storage", "100Mi")
	all := func() []Candidate {
		return []Candidate{
			{newPod("modest", 0, request), using(50, 50, 9)},
			{newPod("over-a-little", 0, request), using(110, 110, 1)},
			{newPod("over-a-lot", 0, request), using(500, 500, 2)},
			{newPod("important-over", 100, request), using(900, 900, 3)},
			{newPod("asked-for-nothing", 0, nil), using(20, 20, 4)},
			{newPod("unknown", 1000, nil), nil},
			{newPod("important-modest", 100, request), using(1, 1, 99)},
		}
	}
	for signal, want := range map[threshold.Signal]string{
		threshold.MemoryAvailable: "unknown over-a-lot asked-for-nothing over-a-little important-over modest important-modest",
		threshold.NodeFSAvailable: "unknown over-a-lot asked-for-nothing over-a-little important-over modest important-modest",
		threshold.ImageFSInodes:   "unknown over-a-lot over-a-little modest asked-for-nothing important-over important-modest",
		threshold.PIDAvailable:    "unknown modest asked-for-nothing over-a-lot over-a-little important-modest important-over",
	} {
		c := all()
		rank(c, signal, filesOf(signal, false))
		var names []string
		for _, x := range c {
			names = append(names, x.Pod.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s:\n got %s\nwant %s", signal, got, want)
		}
	}
}

func TestFilesOfAFileSystem(t *testing.T) {
	u := &Usage{Containers: []ContainerUsage{{Rootfs: diskusage.Usage{Bytes: 1}, Logs: diskusage.Usage{Bytes: 10}}},
		Volumes: map[string]diskusage.Usage{"v": {Bytes: 100}}}
	for _, tc := range []struct {
		signal    threshold.Signal
		dedicated bool
		want      int64
	}{
		{threshold.NodeFSAvailable, false, 111}, {threshold.ImageFSAvailable, false, 111},
		{threshold.NodeFSAvailable, true, 110}, {threshold.ImageFSAvailable, true, 1},
	} {
		if got := u.disk(filesOf(tc.signal, tc.dedicated)).Bytes; got != tc.want {
			t.Errorf("%s, dedicated %v: %d bytes, want %d", tc.signal, tc.dedicated, got, tc.want)
		}
	}
}

func TestExplain(t *testing.T) {
	starved := thresholds(t, threshold.Settings{Hard: map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "pid.available": "100"}})
	o := observed(t, "memory.available=80Mi/1Gi nodefs.available=512Mi/10Gi pid.available=7/1000")
	whole := newPod("whole", 0, quantities("memory", "10Mi"))
	whole.Spec.Resources = &corev1.ResourceRequirements{Requests: quantities("memory", "40Mi")}
	for _, tc := range []struct {
		what   corev1.ResourceName
		c      Candidate
		want   string
		blamed string
	}{
		{corev1.ResourceMemory, Candidate{newPod("p", 0, quantities("memory", "10Mi")), using(50, 0, 0)},
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container c was using 50Mi, request is 10Mi, has larger consumption of memory. ", "c=50Mi"},
		{corev1.ResourceMemory, Candidate{newPod("p", 0, nil), using(50, 0, 0)},
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container c was using 50Mi, request is 0, has larger consumption of memory. ", "c=50Mi"},
		{corev1.ResourceMemory, Candidate{newPod("p", 0, quantities("memory", "60Mi")), using(50, 0, 0)},
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. ", "="},
		{corev1.ResourceMemory, Candidate{whole, using(50, 0, 0)},
			"The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Pod whole was using 50Mi, request is 40Mi, has larger consumption of memory. Container c was using 50Mi, request is 10Mi, has larger consumption of memory. ", "c=50Mi"},
		{corev1.ResourceEphemeralStorage, Candidate{newPod("p", 0, nil), using(0, 30, 0)},
			"The node was low on resource: ephemeral-storage. Threshold quantity: 1073741840, available: 512Mi. Container c was using 30Mi, request is 0, has larger consumption of ephemeral-storage. ", "c=30Mi"},
		{threshold.ResourcePIDs, Candidate{newPod("p", 0, nil), using(0, 0, 9)},
			"The node was low on resource: pids. Threshold quantity: 100, available: 7. ", "="},
		{corev1.ResourceMemory, Candidate{newPod("p", 0, nil), nil}, "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. ", "="},
	} {
		got := explain(tc.what, tc.c, starved, o)
		if got.message != tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.what, got.message, tc.want)
		}
		if b := got.annotations["offending_containers"] + "=" + got.annotations["offending_containers_usage"]; b != tc.blamed {
			t.Errorf("%s: blamed %s, want %s", tc.what, b, tc.blamed)
		}
	}
}

func TestOverStorage(t *testing.T) {
	limited := func(limit string, empty string) *corev1.Pod {
		p := newPod("p", 0, nil)
		if limit != "" {
			p.Spec.Containers[0].Resources.Limits = quantities("ephemeral-storage", limit)
		}
		v := corev1.Volume{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
		if empty != "" {
			q := resource.MustParse(empty)
			v.EmptyDir.SizeLimit = &q
		}
		p.Spec.Volumes = []corev1.Volume{v}
		return p
	}
	usage := func(rootfs, logs, volume int64) *Usage {
		return &Usage{Containers: []ContainerUsage{{Name: "c", Rootfs: diskusage.Usage{Bytes: rootfs * mi}, Logs: diskusage.Usage{Bytes: logs * mi}}},
			Volumes: map[string]diskusage.Usage{"scratch": {Bytes: volume * mi}}}
	}
	unlimited := limited("10Mi", "")
	unlimited.Spec.Containers = append(unlimited.Spec.Containers, corev1.Container{Name: "d"})
	for _, tc := range []struct {
		name            string
		pod             *corev1.Pod
		usage           *Usage
		dedicated       bool
		signal, message string
	}{
		{"no limits", limited("", ""), usage(100, 100, 100), false, "", ""},
		{"within", limited("30Mi", "10Mi"), usage(10, 10, 10), false, "", ""},
		{"emptyDir", limited("", "10Mi"), usage(0, 0, 11), false, signalEmptyDir, `Usage of EmptyDir volume "scratch" exceeds the limit "10Mi". `},
		{"pod", limited("30Mi", ""), usage(10, 10, 11), false, signalPod, "Pod ephemeral local storage usage exceeds the total limit of containers 30Mi. "},
		{"root file system alone, elsewhere", unlimited, usage(5, 3, 0), true, "", ""},
	} {
		signal, message := overStorage(Candidate{tc.pod, tc.usage}, tc.dedicated)
		if signal != tc.signal || message != tc.message {
			t.Errorf("%s: got %q %q", tc.name, signal, message)
		}
	}
	two := limited("10Mi", "")
	two.Spec.Containers = append(two.Spec.Containers, corev1.Container{Name: "d", Resources: corev1.ResourceRequirements{Limits: quantities("ephemeral-storage", "90Mi")}})
	if signal, message := overStorage(Candidate{two, usage(8, 3, 0)}, false); signal != signalContainer || message != `Container c exceeded its local ephemeral storage limit "10Mi". ` {
		t.Errorf("container: got %q %q", signal, message)
	}
	if limitsStorage(limited("", "")) || !limitsStorage(limited("1", "")) || !limitsStorage(limited("", "1")) {
		t.Error("limitsStorage is wrong about who has to be measured")
	}
}

func TestRefuse(t *testing.T) {
	memory, disk := []corev1.NodeConditionType{corev1.NodeMemoryPressure}, []corev1.NodeConditionType{corev1.NodeDiskPressure, corev1.NodeMemoryPressure}
	best, burst := newPod("best", 0, nil), newPod("burst", 0, quantities("memory", "1Mi"))
	tolerant := newPod("tolerant", 0, nil)
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	for _, tc := range []struct {
		pod        *corev1.Pod
		conditions []corev1.NodeConditionType
		message    string
	}{
		{best, nil, ""}, {burst, memory, ""}, {tolerant, memory, ""}, {newPod("critical", 2_000_000_000, nil), disk, ""},
		{best, memory, "The node had condition: [MemoryPressure]. "},
		{burst, disk, "The node had condition: [DiskPressure MemoryPressure]. "},
		{tolerant, disk, "The node had condition: [DiskPressure MemoryPressure]. "},
	} {
		reason, message := refuse(tc.pod, tc.conditions)
		if message != tc.message || (reason == Reason) != (message != "") {
			t.Errorf("%s under %s: got %q %q", tc.pod.Name, tc.conditions, reason, message)
		}
	}
}
