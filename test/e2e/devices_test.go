package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const claimed = `
apiVersion: resource.k8s.io/v1
kind: ResourceClaim
metadata: {name: by-hand, finalizers: [resource.kubernetes.io/delete-protection]}
spec:
  devices: {requests: [{name: gpu, exactly: {deviceClassName: dra.example.com}}]}
`

const allocation = `{"status":{"allocation":{"devices":{"results":[{"request":"gpu","driver":"dra.example.com","pool":"node-1","device":"dev-2"}]},
"nodeSelector":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["node-1"]}]}]}}}}`

const withClaim = `
apiVersion: v1
kind: Pod
metadata: {name: with-claim}
spec:
  terminationGracePeriodSeconds: 0
  resourceClaims: [{name: dev, resourceClaimName: by-hand}]
  containers:
  - {name: main, image: busybox, imagePullPolicy: Never, command: [sh, -c, 'env | grep DRA_; sleep 3600'], resources: {claims: [{name: dev}]}}
`

// TestDevices runs a device plug-in and a DRA driver as their authors deploy them, by manifests that name
// /var/lib/kubelet, and pods that use them. The agent is killed in between: nobody's devices change.
func TestDevices(t *testing.T) {
	u := ownCluster(t, 1)
	for _, image := range []string{"deviceplugin", "dradriver"} {
		u.clipperRun("sandbox", "image-load", u.name, imagesDir()+"/"+image+".tar")
		u.must("apply", "-n", "kube-system", "-f", "../"+image+"/manifests/daemonset.yaml")
	}
	const devices = `jsonpath={.status.capacity.example\.com/device} {.status.allocatable.example\.com/device}`
	u.eventually(30*time.Second, is("4 4"), "get", "node", "node-1", "-o", devices)
	u.eventually(30*time.Second, says("dra.example.com"), "get", "resourceslices")

	u.must("apply", "-f", "../deviceplugin/manifests/pod.yaml")
	u.phase("with-device", "Running")
	if out := u.must("logs", "with-device"); out != "has dev-3\n/dev/example-dev-3\n" {
		t.Errorf("the container says %q", out)
	}
	u.apply(claimed)
	u.must("patch", "resourceclaim", "by-hand", "--subresource=status", "--type=merge", "-p", allocation)
	u.apply(withClaim)
	u.phase("with-claim", "Running")
	if out := u.must("logs", "with-claim"); out != "DRA_GPU=dev-2\n" {
		t.Errorf("the container says %q", out)
	}
	u.must("wait", "--for=jsonpath={.status.reservedFor[0].name}=with-claim", "resourceclaim/by-hand")

	const identity = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount}\n{end}"
	before := u.must("get", "pods", "-A", "-o", identity)
	pid := u.nodeProcess("node-1")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	u.clipperRun("sandbox", "create", u.name)
	u.eventually(30*time.Second, is("4 4"), "get", "node", "node-1", "-o", devices)
	if after := u.must("get", "pods", "-A", "-o", identity); after != before {
		t.Errorf("after the agent was killed:\n%s\nbefore:\n%s", after, before)
	}
	manifest, err := os.ReadFile("../deviceplugin/manifests/pod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	u.apply(strings.Replace(string(manifest), "with-device", "another", 1))
	u.phase("another", "Running")
	if out := u.must("logs", "another"); out != "has dev-2\n/dev/example-dev-2\n" {
		t.Errorf("the other container says %q; dev-3 is taken", out)
	}
	u.apply(strings.NewReplacer("with-device", "refused", "\nspec:", "\nspec:\n  nodeName: node-1", "device: 1", "device: 3").Replace(string(manifest)))
	u.eventually(30*time.Second, is("UnexpectedAdmissionError Pod was rejected: Allocate failed due to requested number of devices unavailable for example.com/device. Requested: 3, Available: 2, which is unexpected"),
		"get", "pod", "refused", "-o", "jsonpath={.status.reason} {.status.message}")

	u.must("delete", "pod", "with-claim", "with-device")
	u.eventually(30*time.Second, is(""), "get", "resourceclaim", "by-hand", "-o", "jsonpath={.status.allocation}{.metadata.finalizers}")
	u.eventually(30*time.Second, says("Put away"), "logs", "-n", "kube-system", "daemonset/dradriver") // with its file on the machine
	u.must("delete", "daemonset", "-n", "kube-system", "deviceplugin")
	u.eventually(30*time.Second, is("4 0"), "get", "node", "node-1", "-o", devices)
}

// TestExclusiveCPUs gives a pod a CPU of its own: everybody else leaves it, and comes back in the end.
func TestExclusiveCPUs(t *testing.T) {
	config := filepath.Join(t.TempDir(), "kubelet.yaml")
	settings := "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncpuManagerPolicy: static\nkubeReserved: {cpu: 500m}\n" +
		"evictionHard: {memory.available: 50Mi, nodefs.available: 1%, nodefs.inodesFree: 1%, imagefs.available: 1%}\n" // of the machine's disk others decide
	if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	u := ownCluster(t, 1, "--kubelet-config", config)
	const pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n" +
		"  - {name: c, image: busybox, imagePullPolicy: Never, command: [sleep, '3600'], resources: {limits: %s}}\n"
	u.apply(fmt.Sprintf(pod, "shared", "{}"))
	u.phase("shared", "Running")
	cpus := func(pod string) []string {
		return []string{"exec", pod, "--", "sed", "-n", `s/^Cpus_allowed_list:\t//p`, "/proc/self/status"}
	}
	all := strings.TrimSpace(u.must(cpus("shared")...))
	if !strings.ContainsAny(all, "-,") {
		t.Skip("one CPU cannot be shared out")
	}
	u.apply(fmt.Sprintf(pod, "pinned", `{cpu: "1", memory: 64Mi}`))
	u.phase("pinned", "Running")
	own := strings.TrimSpace(u.must(cpus("pinned")...))
	if strings.ContainsAny(own, "-,") || own == "0" {
		t.Errorf("the pod has CPUs %s, want one that is not reserved", own)
	}
	u.eventually(20*time.Second, func(out string) bool { return strings.TrimSpace(out) != all && strings.TrimSpace(out) != own }, cpus("shared")...)
	u.must("delete", "pod", "pinned")
	u.eventually(20*time.Second, is(all), cpus("shared")...)
}
