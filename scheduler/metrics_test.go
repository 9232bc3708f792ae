package scheduler

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// TestUnschedulablePods: pods that wait are counted for each plug-in that has rejected them, as long as they wait.
func TestUnschedulablePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bindable()
		small, tainted := testNode("n1", "1"), testNode("n2", "8")
		tainted.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}
		c.Add(api.Nodes.Resource, small)
		c.Add(api.Nodes.Resource, tainted)
		start(t, c)
		gated := testPod("gated", "1")
		gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "a"}}
		for _, p := range []*corev1.Pod{testPod("large", "2"), testPod("larger", "3"), gated} {
			c.Add(api.Pods.Resource, p)
		}
		count := func(want string) {
			t.Helper()
			time.Sleep(3 * time.Second)
			synctest.Wait()
			const head = "# HELP scheduler_unschedulable_pods The number of unschedulable pods broken down by plugin name. A pod will increment the gauge for all plugins that caused it to not schedule and so this metric have meaning only when broken down by plugin.\n# TYPE scheduler_unschedulable_pods gauge\n"
			if err := testutil.CollectAndCompare(&running, strings.NewReader(head+want), "scheduler_unschedulable_pods"); err != nil {
				t.Error(err)
			}
		}
		count(`scheduler_unschedulable_pods{plugin="NodeResourcesFit",profile="default-scheduler"} 2
scheduler_unschedulable_pods{plugin="SchedulingGates",profile="default-scheduler"} 1
scheduler_unschedulable_pods{plugin="TaintToleration",profile="default-scheduler"} 2
`)
		free := tainted.DeepCopy()
		free.Spec.Taints = nil
		c.Add(api.Nodes.Resource, free)
		count(`scheduler_unschedulable_pods{plugin="SchedulingGates",profile="default-scheduler"} 1
`)
	})
}
