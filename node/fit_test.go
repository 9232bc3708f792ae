package node

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"clipper/node/manifests"
	"clipper/node/preempt"
)

func asking(pairs ...string) *corev1.Pod {
	l := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	p := &corev1.Pod{}
	p.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: l}}}
	return p
}

func changed(p *corev1.Pod, change func(*corev1.Pod)) *corev1.Pod {
	change(p)
	return p
}

func TestUnfit(t *testing.T) {
	node := &corev1.Node{}
	node.Labels = map[string]string{"disk": "ssd"}
	node.Spec.Taints = []corev1.Taint{{Key: "away", Effect: corev1.TaintEffectNoExecute}, {Key: "soft", Effect: corev1.TaintEffectNoSchedule}}
	allocatable := corev1.ResourceList{"cpu": resource.MustParse("2"), "memory": resource.MustParse("1Gi"), "pods": resource.MustParse("3"),
		"ephemeral-storage": resource.MustParse("10Gi"), "example.com/gpu": resource.MustParse("1"), "hugepages-2Mi": resource.MustParse("0")}
	others := []*corev1.Pod{asking("cpu", "1500m", "example.com/gpu", "1"), changed(asking(), func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, Protocol: corev1.ProtocolTCP}}
	})}
	tolerate := func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} }
	for name, tc := range map[string]struct {
		pod    *corev1.Pod
		others []*corev1.Pod
		want   string
	}{
		"fits":                               {changed(asking("cpu", "500m", "memory", "1Gi"), tolerate), others, ""},
		"too many pods":                      {changed(asking(), tolerate), append(others, asking()), "OutOfpods Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3"},
		"CPU":                                {changed(asking("cpu", "501m"), tolerate), others, "OutOfcpu Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"},
		"all that is missing":                {changed(asking("cpu", "2", "memory", "2Gi"), tolerate), others, "OutOfcpu Node didn't have enough resource: cpu, requested: 2000, used: 1500, capacity: 2000; OutOfmemory Node didn't have enough resource: memory, requested: 2147483648, used: 0, capacity: 1073741824"},
		"a device":                           {changed(asking("example.com/gpu", "1"), tolerate), others, "OutOfexample.com/gpu Node didn't have enough resource: example.com/gpu, requested: 1, used: 1, capacity: 1"},
		"huge pages":                         {changed(asking("hugepages-2Mi", "2Mi", "cpu", "1m"), tolerate), others, "OutOfhugepages-2Mi Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0"},
		"a resource that nodes do not count": {changed(asking("example.com/licence", "5"), tolerate), others, ""},
		"labels":                             {changed(asking(), func(p *corev1.Pod) { tolerate(p); p.Spec.NodeSelector = map[string]string{"disk": "hdd"} }), others, "NodeAffinity Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"},
		"a port":                             {changed(asking(), func(p *corev1.Pod) { tolerate(p); p.Spec.Containers[0].Ports = others[1].Spec.Containers[0].Ports }), others, "NodePorts Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"},
		"a taint":                            {asking(), others, "TaintToleration Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"},
		"no taint drives static pods away": {changed(asking(), func(p *corev1.Pod) {
			p.Annotations = map[string]string{manifests.SourceAnnotation: manifests.FileSource}
		}), others, ""},
	} {
		var got []string
		for _, r := range unfit(tc.pod, tc.others, node, allocatable) {
			got = append(got, r.reason+" "+r.message)
		}
		if text := strings.Join(got, "; "); text != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", name, text, tc.want)
		}
	}
	lacks := unfit(changed(asking("cpu", "700m"), tolerate), others, node, allocatable)[0].lacks
	if want := (preempt.Need{Resource: corev1.ResourceCPU, Amount: 200}); lacks != want {
		t.Errorf("others would have to give up %v, want %v", lacks, want)
	}
}

func TestImpossible(t *testing.T) {
	able, unable := &corev1.Node{}, &corev1.Node{}
	able.Status.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: ptr.To(true)}
	strict := changed(asking(), func(p *corev1.Pod) {
		p.Spec.SecurityContext = &corev1.PodSecurityContext{SupplementalGroupsPolicy: ptr.To(corev1.SupplementalGroupsPolicyStrict)}
	})
	for _, tc := range []struct {
		pod  *corev1.Pod
		node *corev1.Node
		want string
	}{
		{asking(), unable, "<nil>"},
		{strict, able, "<nil>"},
		{strict, unable, "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not supported in this node"},
		{changed(asking(), func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }), able, "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"},
		{changed(asking(), func(p *corev1.Pod) { p.Labels = map[string]string{corev1.LabelOSStable: "plan9"} }), able, "PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"},
	} {
		got := "<nil>"
		if r := impossible(tc.pod, tc.node); r != nil {
			got = fmt.Sprintf("%s: %s", r.reason, r.message)
		}
		if got != tc.want {
			t.Errorf("got %s, want %s", got, tc.want)
		}
	}
}
