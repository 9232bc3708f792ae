package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// busy works for a moment again and again: more than it has asked for, and less than the machine minds.
const busy = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: busy}
spec:
  selector: {matchLabels: {app: busy}}
  template:
    metadata: {labels: {app: busy}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: busybox
        command: [sh, -c, "while true; do i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; sleep 0.2; done"]
        resources: {requests: {cpu: 10m}, limits: {cpu: 100m}}
`

// TestTopAndAutoscale: what pods use shows without anything to install, and more pods come of it.
func TestTopAndAutoscale(t *testing.T) {
	u := newUser(t)
	u.apply(busy)
	u.must("rollout", "status", "deployment/busy", "--timeout=60s")
	u.eventually(30*time.Second, func(out string) bool { return strings.Contains(out, "busy-") && !strings.Contains(out, " 0m ") }, "top", "pods", "--no-headers")
	u.eventually(10*time.Second, says("main"), "top", "pods", "--containers", "--no-headers")
	if nodes := strings.Split(strings.TrimSpace(u.must("top", "nodes", "--no-headers")), "\n"); len(nodes) != clusterNodes {
		t.Errorf("top shows the nodes %q", nodes)
	}
	u.must("autoscale", "deployment", "busy", "--cpu-percent=50", "--min=1", "--max=2")
	u.eventually(time.Minute, is("2"), "get", "deployment", "busy", "-o", "jsonpath={.status.readyReplicas}")
	u.eventually(time.Minute, is("True ValidMetricFound"), "get", "hpa", "busy", "-o",
		`jsonpath={.status.conditions[?(@.type=="ScalingActive")]['status','reason']}`)
}

// TestNodeTells: what a node tells of itself, by way of the API server.
func TestNodeTells(t *testing.T) {
	u := newUser(t)
	u.apply(busy)
	u.must("rollout", "status", "deployment/busy", "--timeout=60s")
	node := u.must("get", "pods", "-o", "jsonpath={.items[0].spec.nodeName}")
	raw := func(path string) string { return u.must("get", "--raw", "/api/v1/nodes/"+node+"/proxy"+path) }
	var summary statsapi.Summary
	if err := json.Unmarshal([]byte(raw("/stats/summary")), &summary); err != nil {
		t.Fatal(err)
	}
	for _, p := range summary.Pods {
		if p.PodRef.Namespace == u.namespace && (len(p.Containers) != 1 || *p.Containers[0].CPU.UsageCoreNanoSeconds == 0 || *p.Containers[0].Memory.WorkingSetBytes == 0 || p.Network == nil) {
			t.Errorf("the summary says of the pod: %+v", p)
		}
	}
	for path, want := range map[string]string{
		"/healthz":          "ok",
		"/metrics":          fmt.Sprintf("kubelet_node_name{node=%q} 1", node),
		"/metrics/resource": fmt.Sprintf("container_cpu_usage_seconds_total{container=\"main\",namespace=%q,", u.namespace),
		"/metrics/cadvisor": fmt.Sprintf("namespace=%q,pod=\"busy-", u.namespace),
		"/configz":          `"maxPods":110`,
		"/pods":             fmt.Sprintf("\"namespace\":%q", u.namespace),
	} {
		if out := raw(path); !strings.Contains(out, want) {
			t.Errorf("%s does not say %s", path, want)
		}
	}
}

// TestNodeComesBack: a Node that is deleted while it works registers again, with the addresses that its pods have.
func TestNodeComesBack(t *testing.T) {
	u := newUser(t)
	const name = "node-2"
	what := "jsonpath={.metadata.uid} {.spec.podCIDR}"
	before := strings.Fields(u.must("get", "node", name, "-o", what))
	u.must("delete", "node", name, "--wait=false")
	var after []string
	u.eventually(time.Minute, func(out string) bool {
		after = strings.Fields(out)
		return len(after) == 2 && after[0] != before[0]
	}, "get", "node", name, "--ignore-not-found", "-o", what)
	if after[1] != before[1] {
		t.Errorf("came back with the addresses %s instead of %s", after[1], before[1])
	}
	u.must("wait", "--for=condition=Ready", "node/"+name, "--timeout=60s")
	u.eventually(time.Minute, is(after[0]), "get", "lease", name, "-n", "kube-node-lease", "--ignore-not-found", "-o", "jsonpath={.metadata.ownerReferences[0].uid}")
}
